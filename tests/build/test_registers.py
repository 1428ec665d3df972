"""No CUDA kernel spills registers: ptxas' own figures, read from the machine code in the built module."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from deltafast.build_info import build_info
from deltafast.ops import _library

LIBRARY = Path(_library._C.__file__)

_SPILLING_KERNEL = """
__global__ void __launch_bounds__(1024, 2) spilling(const float* x, float* y) {
  float kept[64];
#pragma unroll
  for (int i = 0; i < 64; ++i) kept[i] = x[threadIdx.x * 64 + i];
#pragma unroll
  for (int i = 0; i < 64; ++i) y[threadIdx.x * 64 + i] = kept[63 - i] * kept[(i * 7) % 64];
}
"""


@dataclass(frozen=True)
class Kernel:
    """One kernel of one architecture: registers a thread, bytes of stack (where spilled registers go)."""

    architecture: str
    name: str
    registers: int
    stack: int


def read_report(text: str) -> list[Kernel]:
    """Return the kernels of what `cuobjdump --dump-resource-usage` prints."""
    kernels, architecture, name = [], "", ""
    for line in text.splitlines():
        if match := re.match(r"arch = (\w+)", line):
            architecture = match[1]
        elif match := re.match(r" Function (\w+):", line):
            name = match[1]
        elif match := re.match(r"  REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", line):
            kernels.append(Kernel(architecture, name, int(match[1]), int(match[2]) + int(match[3])))
    return kernels


def _cuobjdump() -> str | None:
    """The toolkit's program, or that of the PyPI package nvidia-cuda-cuobjdump."""
    folders = [Path(folder or ".") / "nvidia" for folder in sys.path]
    found = [str(path) for folder in folders for path in folder.glob("cu*/bin/cuobjdump") if os.access(path, os.X_OK)]
    return found[0] if found else shutil.which("cuobjdump")


def _report(file: Path) -> list[Kernel]:
    program = _cuobjdump()
    if program is None:
        pytest.skip("no cuobjdump: pip install nvidia-cuda-cuobjdump (the extra `test` has it)")
    shown = subprocess.run([program, "--dump-resource-usage", file], capture_output=True, text=True, check=True)
    return read_report(shown.stdout)


@pytest.fixture(scope="module")
def kernels() -> list[Kernel]:
    if build_info()["extension"]["cuda_toolkit"] is None:
        pytest.skip("this build has no CUDA kernels")
    return _report(LIBRARY)


def test_every_architecture_has_the_same_kernels(kernels: list[Kernel]) -> None:
    compiled = {
        f"sm_{name.split('-')[0]}" for name in build_info()["extension"]["cuda_architectures"] if "real" in name
    }
    seen: dict[str, set[str]] = {}
    for kernel in kernels:
        # nvcc numbers its unnamed namespaces anew in every pass
        seen.setdefault(kernel.architecture, set()).add(re.sub(r"_GLOBAL__N__[0-9a-f]+_", "", kernel.name))
    assert set(seen) == compiled
    portable = [names for architecture, names in seen.items() if not architecture.endswith("a")]
    assert all(portable)
    assert all(names == portable[0] for names in portable)


def test_no_kernel_spills_registers(kernels: list[Kernel]) -> None:
    assert kernels
    spilling = [
        f"{k.architecture} {k.name}: {k.registers} registers, {k.stack} bytes of stack" for k in kernels if k.stack
    ]
    assert not spilling, (
        "spilled registers; let a thread hold fewer values, or lower the second number of __launch_bounds__ (without "
        "one, ptxas spills for the sake of more blocks):\n" + "\n".join(spilling)
    )


def test_a_spill_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository_root: Path) -> None:
    monkeypatch.syspath_prepend(str(repository_root / "build_backend"))
    import toolchain

    nvcc = toolchain.find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc here")
    source, binary = tmp_path / "spilling.cu", tmp_path / "spilling.fatbin"
    source.write_text(_SPILLING_KERNEL, encoding="utf-8")
    subprocess.run([nvcc.path, "-fatbin", "-arch=sm_80", "-o", binary, source], check=True, timeout=120)
    (kernel,) = _report(binary)
    assert kernel.architecture == "sm_80"
    assert kernel.registers == 32
    assert kernel.stack > 0
