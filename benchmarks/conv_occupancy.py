"""Registers and shared memory of the convolution's tensor-core kernels, and how many blocks an SM holds of them.

python -m benchmarks.conv_occupancy [--out benchmarks/results/conv_occupancy.json]

Compiles the kernels with nvcc and reads ptxas' figures with cuobjdump; no GPU is needed, and nothing runs. A kernel
takes the more shared memory the more chunks of input channels there are, until all stages hold
weights; both ends are given.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from deltafast.ops.implicit_conv import ConvForm, tile_size

_ROOT = Path(__file__).resolve().parent.parent
_SOURCES = ("implicit_conv.cu", "implicit_conv_stride.cu")
_SM90_SOURCES = ("sm90/wgmma_conv.cu",)
_FORMS: tuple[ConvForm, ...] = ("plain", "pointwise", "up", "down", "up")  # by their numbers in csrc; 4 filters, too
_FILTERED = 4
_COLUMNS, _UP_TILE = 16, 16 * 2 * 17 * 4 * 16  # kConvTileColumns, kUpTileBytes
_WG_THREADS, _WG_STAGES, _WG_TAPS, _WG_CONSUMERS = 384, 2, 3, 2  # of wgmma_tile.cuh
_FIGURES = r"  REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)"  # as cuobjdump prints them


@dataclass(frozen=True)
class Multiprocessor:
    """What an SM has: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"."""

    shared: int  # bytes
    threads: int
    blocks: int
    registers: int = 65536


ARCHITECTURES = {
    "80": Multiprocessor(164 * 1024, 2048, 32),
    "86": Multiprocessor(100 * 1024, 1536, 16),
    "89": Multiprocessor(100 * 1024, 1536, 24),
    "90": Multiprocessor(228 * 1024, 2048, 32),
    "90a": Multiprocessor(228 * 1024, 2048, 32),
}
# Machine code -> the SMs that run it.
_RUN_BY = {"80": ("80", "86", "89"), "90": ("90",), "90a": ("90a",)}
# As CMakeLists.txt has it: PTX for sm_80 is assembled for everything from there on.
_PTX = {_SOURCES: "arch=compute_80,code=[sm_80,sm_90]", _SM90_SOURCES: "arch=compute_90a,code=sm_90a"}


@dataclass(frozen=True)
class Kernel:
    """One kernel on one kind of SM; `blocks`: how many it holds, with most shared memory and with least."""

    name: str
    architecture: str
    dtype: str
    threads: int
    registers: int
    local_bytes: int
    shared_bytes: int
    blocks: int
    shared_bytes_of_one_chunk: int
    blocks_of_one_chunk: int


def shared_bytes(number: int, outputs: int, stages: int, chunks: int) -> int:
    """Return a block's shared memory for so many chunks of inputs, as launch_conv of implicit_conv.cuh asks for it."""
    form = _FORMS[number]
    rows, size, depth = tile_size(form, outputs)
    halo = {"plain": 2, "pointwise": 0}.get(form, 1)
    stride = 2 if form == "down" else 1
    taps = 1 if form == "pointwise" else 9
    inputs = (stride * rows + halo) * (stride * _COLUMNS + halo)
    weights = min(chunks, stages) * taps * size
    return 2 * depth * (stages * inputs + weights) + (_UP_TILE if number == _FILTERED else 0)


def wgmma_shared_bytes(outputs: int) -> int:
    """Return a block's shared memory for so many output channels of a tile: WgTile::kSharedBytes."""
    rows, size, depth = tile_size("plain", outputs, "wgmma")
    stage = ((rows + 2) * _COLUMNS + _WG_TAPS * size) * 2 * depth
    staging = _WG_CONSUMERS * 64 * size * 2
    return _WG_STAGES * (stage + 2 * 8) + staging + 1024


def blocks_of(sm: Multiprocessor, threads: int, registers: int, shared: int) -> int:
    """Return how many blocks an SM holds: registers go to warps by 256, and each block takes 1 KiB for itself."""
    of_warp = -(-registers * 32 // 256) * 256
    by_registers = sm.registers // of_warp // (threads // 32)
    return min(by_registers, sm.shared // (shared + 1024), sm.threads // threads, sm.blocks)


def program(name: str) -> str | None:
    """Return the path of one of the CUDA toolkit's programs: the PyPI package's, or the one on the PATH."""
    folders = [Path(folder or ".") / "nvidia" for folder in sys.path]
    found = [str(path) for folder in folders for path in folder.glob(f"cu*/bin/{name}") if os.access(path, os.X_OK)]
    return found[0] if found else shutil.which(name)


def read(usage: str) -> list[Kernel]:
    """Return the convolution's kernels in what `cuobjdump --dump-resource-usage` prints."""
    kernels: list[Kernel] = []
    architecture, match, wgmma = "", None, None
    for line in usage.splitlines():
        if found := re.match(r"arch = sm_(\w+)", line):
            architecture = found[1]
        elif line.startswith(" Function "):
            match = re.search(
                r"implicit_conv_kernelI(\d+_*\w+?)NS0_8ConvTileILNS_8ConvFormE(\d)ELb(\d)ELi(\d+)ELi(\d+)", line
            )
            wgmma = re.search(r"wgmma_conv_kernelI(\d+_*\w+?)NS0_6WgTileILi(\d+)EEELb(\d)E", line)
        elif (match or wgmma) and (figures := re.match(_FIGURES, line)):
            for sm in _RUN_BY.get(architecture, ()):
                kernels.append(_kernel(sm, match, figures) if match else _wgmma_kernel(sm, wgmma, figures))
            match = wgmma = None
    return kernels


def _kernel(sm: str, name: re.Match[str], figures: re.Match[str]) -> Kernel:
    number, wide, warps, stages = (int(name[i]) for i in range(2, 6))
    threads, registers, outputs = 32 * warps, int(figures[1]), 64 if wide else 32
    most, least = (shared_bytes(number, outputs, stages, chunks) for chunks in (stages, 1))
    blocks, more = (blocks_of(ARCHITECTURES[sm], threads, registers, shared) for shared in (most, least))
    form = "up, filtered" if number == _FILTERED else _FORMS[number]
    return Kernel(
        name=f"{form}, {'wide' if wide else 'narrow'}",
        architecture=sm,
        dtype="float16" if "half" in name[1] else "bfloat16",
        threads=threads,
        registers=registers,
        local_bytes=int(figures[2]) + int(figures[3]),
        shared_bytes=most,
        blocks=blocks,
        shared_bytes_of_one_chunk=least,
        blocks_of_one_chunk=more,
    )


def _wgmma_kernel(sm: str, name: re.Match[str], figures: re.Match[str]) -> Kernel:
    outputs, registers = int(name[2]), int(figures[1])
    shared = wgmma_shared_bytes(outputs)
    blocks = blocks_of(ARCHITECTURES[sm], _WG_THREADS, registers, shared)
    return Kernel(
        name=f"wgmma, {outputs} outputs, {'with its epilogue' if name[3] == '1' else 'sums'}",
        architecture=sm,
        dtype="float16" if "half" in name[1] else "bfloat16",
        threads=_WG_THREADS,
        registers=registers,
        local_bytes=int(figures[2]) + int(figures[3]),
        shared_bytes=shared,
        blocks=blocks,
        shared_bytes_of_one_chunk=shared,
        blocks_of_one_chunk=blocks,
    )


def compiled(nvcc: str, cuobjdump: str, folder: Path) -> list[Kernel]:
    """Compile the kernels as a build does, into `folder`, and return them."""
    kernels: list[Kernel] = []
    for sources, code in _PTX.items():
        for source in sources:
            binary = folder / f"{Path(source).stem}.fatbin"
            command = [nvcc, "-std=c++17", "-O3", "-fatbin", "-gencode", code, "-I", _ROOT / "csrc", "-o", binary]
            subprocess.run([*command, _ROOT / "csrc" / "kernels" / "cuda" / source], check=True)
            usage = subprocess.run(
                [cuobjdump, "--dump-resource-usage", binary], check=True, capture_output=True, text=True
            )
            kernels += read(usage.stdout)
    return kernels


def main() -> None:
    """Write every kernel's figures as JSON, and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=_ROOT / "benchmarks" / "results" / "conv_occupancy.json")
    options = parser.parse_args()
    nvcc, cuobjdump = program("nvcc"), program("cuobjdump")
    if nvcc is None or cuobjdump is None:
        sys.exit("conv_occupancy: nvcc and cuobjdump are needed (nvidia-cuda-nvcc, nvidia-cuda-cuobjdump)")
    version = subprocess.run([nvcc, "--version"], check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        kernels = compiled(nvcc, cuobjdump, Path(folder))
    report = {
        "what": "ptxas' figures; nothing was run",
        "nvcc": re.findall(r"V([\d.]+)", version)[0],
        "architectures": {name: asdict(sm) for name, sm in ARCHITECTURES.items()},
        "kernels": [asdict(kernel) for kernel in kernels],
    }
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for k in kernels:
        print(f"sm_{k.architecture} {k.name} {k.dtype}: {k.registers} registers, {k.blocks} blocks")


if __name__ == "__main__":
    main()
