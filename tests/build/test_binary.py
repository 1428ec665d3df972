"""The compiled module keeps its promises: stable ABI only, no CUDA libraries, every architecture."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deltafast.build_info import build_info, runs_on
from deltafast.errors import BuildError
from deltafast.ops import _library

LIBRARY = Path(_library._C.__file__)
SHIMS = Path(__file__).with_name("torch_2_10_shims.txt")
SYSTEM_LIBRARIES = {"libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "libstdc++.so.6"}
SYSTEM_LIBRARIES |= {"libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}

needs_elf_tools = pytest.mark.skipif(
    not (shutil.which("nm") and shutil.which("readelf") and sys.platform == "linux"), reason="needs nm and readelf"
)


def _output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@needs_elf_tools
def test_every_torch_symbol_is_a_shim_of_torch_2_10() -> None:
    allowed = {line for line in SHIMS.read_text().split("\n") if line and not line.startswith("#")}
    undefined = {
        line.split()[-1].split("@")[0] for line in _output("nm", "-D", "--undefined-only", LIBRARY).splitlines()
    }
    torch_symbols = {name for name in undefined if re.search(r"torch|c10|caffe2|_ZN2at|_ZNK2at", name)}
    assert torch_symbols, "the module uses no torch at all; the test looks at the wrong file"
    assert torch_symbols <= allowed, f"not stable in torch 2.10: {sorted(torch_symbols - allowed)}"


@needs_elf_tools
def test_only_libtorch_cpu_and_system_libraries_are_needed() -> None:
    dynamic = _output("readelf", "-d", LIBRARY)
    needed = set(re.findall(r"\(NEEDED\).*\[(.+?)\]", dynamic))
    assert "libtorch_cpu.so" in needed
    assert needed - {"libtorch_cpu.so"} <= SYSTEM_LIBRARIES, needed
    assert "RPATH" not in dynamic
    assert "RUNPATH" not in dynamic


@needs_elf_tools
def test_no_cuda_symbol_is_left_to_the_loader() -> None:
    undefined = {line.split()[-1] for line in _output("nm", "-D", "--undefined-only", LIBRARY).splitlines()}
    assert not [name for name in undefined if re.match(r"cu[A-Z]|cuda[A-Z]|aoti_torch_get_current_cuda_stream", name)]


def test_cuda_is_compiled_for_the_default_architectures(repository_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository_root / "build_backend"))
    import toolchain

    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    nvcc = toolchain.find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc here")
    extension = build_info()["extension"]
    if extension["cuda_toolkit"] is None:
        pytest.skip("the module was built with DELTAFAST_NO_CUDA")
    assert set(toolchain.cuda_architectures(nvcc)) <= set(extension["cuda_architectures"])
    if nvcc.version >= (13, 0):
        expected = {f"{arch}-real" for arch in ("75", "80", "90", "100", "120")} | {"80-virtual"}
        assert expected <= set(extension["cuda_architectures"])


def test_build_info_describes_this_installation() -> None:
    import torch

    info = build_info()
    assert info["torch"] == torch.__version__
    assert info["extension"]["file"] == str(LIBRARY)
    assert info["cpu"]["instruction_set"] in info["cpu"]["instruction_sets"]
    assert info["cpu"]["instruction_sets"][-1] == "baseline"
    assert len(info["cuda"]["devices"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)


def test_which_gpus_a_build_runs_on() -> None:
    names = ["75-real", "80-real", "90a-real", "80-virtual"]
    assert runs_on(names, (7, 5))
    assert runs_on(names, (8, 6))  # by minor compatibility of sm_80
    assert runs_on(names, (12, 0))  # through PTX
    assert not runs_on(names, (7, 0))
    assert not runs_on(["90-real"], (10, 0))
    assert runs_on(["90a-real"], (9, 0))


def test_stream_is_reachable_exactly_beside_a_cuda_torch() -> None:
    import torch

    expected = _library.HAS_CUDA_KERNELS and torch.version.cuda is not None
    assert _library._C.cuda_stream_is_reachable() == expected


def test_missing_module_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deltafast._C", None)
    with pytest.raises(BuildError, match=r"is missing from .* Build it with `pip install \.`"):
        _library.load_library(tmp_path)
    (tmp_path / "_C.cpython-39-x86_64-linux-gnu.so").touch()
    with pytest.raises(BuildError, match=r"built for another Python than .*_C\.cpython-39"):
        _library.load_library(tmp_path)


def test_works_in_a_forked_process() -> None:
    program = """
import os, torch
from deltafast.ops import modulated_epilogue
x = torch.randn(1, 8, 128, 128)
before = modulated_epilogue(x)
pid = os.fork()
if pid == 0:
    torch.set_num_threads(1)
    os._exit(0 if torch.equal(modulated_epilogue(x), before) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
