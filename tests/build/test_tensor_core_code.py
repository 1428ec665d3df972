"""The machine code of the convolution's kernels: tensor cores, asynchronous copies, no local memory; blocks fit."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from benchmarks.conv_occupancy import (
    ARCHITECTURES,
    Kernel,
    blocks_of,
    program,
    read,
    shared_bytes,
    wgmma_shared_bytes,
)
from deltafast.build_info import build_info
from deltafast.ops import _library

LIBRARY = Path(_library._C.__file__)
_MMA, _WGMMA = "implicit_conv_kernel", "wgmma_conv_kernel"


def _dump(*options: str) -> str:
    if build_info()["extension"]["cuda_toolkit"] is None:
        pytest.skip("this build has no CUDA kernels")
    tools = [program(name) for name in ("cuobjdump", "nvdisasm")]
    if None in tools:
        pytest.skip(
            "no cuobjdump or nvdisasm: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm (the extra `test`)"
        )
    path = os.pathsep.join([str(Path(str(tools[1])).parent), os.environ.get("PATH", "")])
    command = [str(tools[0]), *options, str(LIBRARY)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "PATH": path}).stdout


@pytest.fixture(scope="module")
def usage() -> str:
    return _dump("--dump-resource-usage")


@pytest.fixture(scope="module")
def kernels(usage: str) -> list[Kernel]:
    return read(usage)


def test_every_form_is_there_in_both_dtypes(kernels: list[Kernel]) -> None:
    assert kernels
    for architecture in {kernel.architecture for kernel in kernels}:
        found = {(kernel.name, kernel.dtype) for kernel in kernels if kernel.architecture == architecture}
        # plain narrow and wide, pointwise, up, up filtered, down; with wgmma two tiles, with and without an epilogue
        assert len(found) == (8 if architecture == "90a" else 12), found


def test_an_sm_holds_a_block_of_every_kernel_and_nothing_is_in_local_memory(kernels: list[Kernel]) -> None:
    assert all(kernel.blocks >= 1 for kernel in kernels), kernels
    assert not [kernel for kernel in kernels if kernel.local_bytes]


def test_shared_memory_is_within_what_every_gpu_gives_a_block(kernels: list[Kernel]) -> None:
    """99 KiB, that of sm_86 and sm_89; 227 KiB on sm_90, which the emulation allows every kernel."""
    for kernel in kernels:
        assert kernel.shared_bytes <= (227 if kernel.architecture == "90a" else 99) * 1024, kernel


def test_occupancy_is_counted_as_the_programming_guide_does() -> None:
    # 128 threads of 128 registers are 16,384 registers: four blocks; of 40 KiB and one more, two in 100 KiB
    assert blocks_of(ARCHITECTURES["80"], 128, 128, 16 * 1024) == 4
    assert blocks_of(ARCHITECTURES["89"], 128, 128, 40 * 1024) == 2
    assert shared_bytes(0, 32, 2, 1) == 2 * (10 * 18 * 64) + 9 * 32 * 64
    assert wgmma_shared_bytes(128) == 2 * (18 * 16 * 128 + 3 * 128 * 128 + 16) + 2 * 64 * 256 + 1024


def _functions(usage: str, name: str, architecture: str) -> dict[str, set[str]]:
    """The kernels of this name: all opcodes of each."""
    names = {found for found in re.findall(r"Function (\w+):", usage) if name in found}
    code = _dump("--dump-sass", "--gpu-architecture", f"sm_{architecture}", "--function", ",".join(sorted(names)))
    pattern = re.compile(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\d+\s+)?([A-Z0-9_]+)", re.MULTILINE)
    parts = [part for part in code.split("Function : ")[1:] if name in part.split("\n", 1)[0]]
    return {part.split("\n", 1)[0]: set(pattern.findall(part)) for part in parts}


def test_hot_loops_multiply_on_tensor_cores(usage: str, kernels: list[Kernel]) -> None:
    architecture = min(kernel.architecture for kernel in kernels)
    functions = _functions(usage, _MMA, architecture)
    assert len(functions) == 12
    for name, opcodes in functions.items():
        assert {"HMMA", "LDSM", "LDGSTS"} <= opcodes, name
        assert not {"LDL", "STL"} & opcodes, name


def test_on_sm_90a_warpgroups_multiply_and_boxes_are_copied(usage: str, kernels: list[Kernel]) -> None:
    if not any(kernel.architecture == "90a" for kernel in kernels):
        pytest.skip("this build has no kernels for sm_90a")
    functions = _functions(usage, _WGMMA, "90a")
    assert len(functions) == 8
    for name, opcodes in functions.items():
        assert {"HGMMA", "UTMALDG", "UTMASTG", "SYNCS", "STSM", "USETMAXREG"} <= opcodes, (name, sorted(opcodes))
        assert not {"LDL", "STL", "HMMA"} & opcodes, name
