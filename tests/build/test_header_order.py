"""The build takes pybind11's own headers, not the copy in torch's folder, which torch 2.10 to 2.12 forbid to use."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


def test_pybind11_of_torch_is_never_included(tmp_path: Path, repository_root: Path) -> None:
    cmake, pybind11 = pytest.importorskip("cmake"), pytest.importorskip("pybind11")
    import torch

    installed, stand_in = Path(torch.__file__).parent, tmp_path / "torch"
    (stand_in / "include/pybind11").mkdir(parents=True)
    (stand_in / "lib").symlink_to(installed / "lib")
    for folder in (installed / "include").iterdir():
        if folder.name != "pybind11":
            (stand_in / "include" / folder.name).symlink_to(folder)
    (stand_in / "include/pybind11/pybind11.h").write_text('#error "not under TORCH_TARGET_VERSION"\n')
    options = {
        "DELTAFAST_TORCH_DIR": stand_in,
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": pybind11.get_cmake_dir(),
    }
    build = tmp_path / "build"
    program = str(Path(cmake.CMAKE_BIN_DIR) / "cmake")
    configure = [program, "-S", repository_root, "-B", build, *(f"-D{name}={value}" for name, value in options.items())]
    subprocess.run([str(word) for word in configure], check=True, timeout=120, capture_output=True)
    commands = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    (command,) = (entry["command"] for entry in commands if entry["file"].endswith("csrc/module.cpp"))
    words = shlex.split(command)
    words[words.index("-o") + 1] = str(tmp_path / "preprocessed")
    done = subprocess.run([*words, "-E"], cwd=build, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "PyModuleDef_Init" in (tmp_path / "preprocessed").read_text(encoding="utf-8", errors="replace")
