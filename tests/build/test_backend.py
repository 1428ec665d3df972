"""The build backend finds torch and nvcc, downloads no second torch, and reads architecture lists as torch does."""

from __future__ import annotations

import importlib
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def toolchain(repository_root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository_root / "build_backend"))
    for name in ("DELTAFAST_TORCH_DIR", "TORCH_CUDA_ARCH_LIST", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    importlib.import_module("deltafast_build")  # while sys.path still leads to it
    return importlib.import_module("toolchain")


def _torch_requirement() -> list[str]:
    found: list[str] = importlib.import_module("deltafast_build")._torch_requirement()
    return found


def fake_torch(folder: Path, version: str, headers: bool = True) -> Path:
    package = folder / "torch"
    (package / "include/torch/csrc/stable").mkdir(parents=True)
    (package / "version.py").write_text(f"__version__ = '{version}'\n")
    if headers:
        (package / "include/torch/csrc/stable/library.h").touch()
    return package


def only_look_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(folder))
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr("site.ENABLE_USER_SITE", False)


def test_torch_of_the_target_environment_is_used_and_none_is_asked_for(
    toolchain: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_torch(tmp_path, "2.11.0+cu130")
    only_look_in(tmp_path, monkeypatch)
    assert toolchain.find_torch().version == "2.11.0+cu130"
    assert toolchain.find_torch().folder == (tmp_path / "torch").resolve()
    assert _torch_requirement() == []


@pytest.mark.parametrize("version", ["2.9.1", "1.13.1+cpu", "unreadable"])
def test_torch_is_asked_for_where_there_is_none_that_fits(
    toolchain: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    only_look_in(tmp_path, monkeypatch)
    assert _torch_requirement() == ["torch>=2.10"]
    fake_torch(tmp_path, version)
    assert toolchain.find_torch() is None
    assert _torch_requirement() == ["torch>=2.10"]


def test_torch_without_headers_does_not_count(
    toolchain: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_look_in(tmp_path, monkeypatch)
    fake_torch(tmp_path, "2.12.0", headers=False)
    assert toolchain.find_torch() is None


def test_named_torch_folder_wins_or_is_refused(
    toolchain: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = fake_torch(tmp_path, "2.10.0")
    monkeypatch.setenv("DELTAFAST_TORCH_DIR", str(package))
    assert toolchain.find_torch().version == "2.10.0"
    monkeypatch.setenv("DELTAFAST_TORCH_DIR", str(tmp_path / "nothing"))
    with pytest.raises(SystemExit, match="is no torch package folder"):
        toolchain.find_torch()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.0", ["80-real"]),
        ("8.0;9.0+PTX", ["80-real", "90-real", "90a-real", "90-virtual"]),
        ("7.5 8.6,12.0", ["75-real", "86-real", "120-real"]),
        ("9.0a", ["90a-real"]),
        ("Hopper Ada", ["90-real", "90a-real", "89-real"]),
    ],
)
def test_architecture_list_is_read_as_torch_reads_it(
    toolchain: ModuleType, monkeypatch: pytest.MonkeyPatch, text: str, expected: list[str]
) -> None:
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", text)
    assert toolchain.cuda_architectures(toolchain.Nvcc(Path("nvcc"), (13, 0))) == expected


def test_sm_90a_is_left_to_nvccs_that_know_it(toolchain: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0")
    assert toolchain.cuda_architectures(toolchain.Nvcc(Path("nvcc"), (11, 8))) == ["90-real"]


def test_unreadable_architecture_list_is_refused(toolchain: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "sm_80")
    with pytest.raises(SystemExit, match="cannot read 'sm_80'"):
        toolchain.cuda_architectures(toolchain.Nvcc(Path("nvcc"), (13, 0)))


def test_nvcc_is_found_through_cuda_home_first(
    toolchain: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvcc = tmp_path / "bin/nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.6, V12.6.20'\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    found = toolchain.find_nvcc()
    assert (found.path, found.version) == (nvcc, (12, 6))


def test_the_tools_of_the_build_need_no_setuptools(repository_root: Path) -> None:
    program = "import sys, toolchain; print('setuptools' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=repository_root / "build_backend", capture_output=True, text=True
    )
    assert shown.stdout.strip() == "False", shown.stderr


def test_make_installs_what_pip_would_for_the_package_and_its_extras(repository_root: Path) -> None:
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    project = tomllib.loads((repository_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def listed(*extras: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-S", repository_root / "build_backend" / "requirements.py", *extras]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    wanted = {*project["dependencies"], *project["optional-dependencies"]["test"]}
    assert set(listed("test").stdout.splitlines()) == wanted
    assert set(listed().stdout.splitlines()) == set(project["dependencies"])
    assert "no extra 'tset'; there are photos" in listed("tset").stderr
