"""The emulation of csrc/emulation, compiled once for all tests that put kernels of their own on it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock


@pytest.fixture(scope="session")
def emulation(tmp_path_factory: pytest.TempPathFactory, repository_root: Path) -> list[Path]:
    """Its object files. Workers of one run share them: the first to come compiles, the others wait."""
    import torch

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, csrc = shared / "emulation", repository_root / "csrc"
    sources = [path for path in sorted((csrc / "emulation").glob("*.cpp")) if path.stem != "device"]
    headers = ["-I", csrc / "emulation", "-I", csrc, "-isystem", Path(torch.__file__).parent / "include"]
    command = ["c++", "-std=c++20", "-O1", "-fPIC", *headers, "-c", *sources]
    with FileLock(shared / "emulation.lock"):
        if not (folder / "whole").exists():
            folder.mkdir(exist_ok=True)
            words = [str(word) for word in command]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr[-4000:]
            (folder / "whole").touch()
    return [folder / f"{path.stem}.o" for path in sources]
