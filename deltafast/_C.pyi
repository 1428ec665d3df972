"""deltafast's compiled kernels; importing the module registers `torch.ops.deltafast`. See csrc/module.cpp."""

from typing import TypedDict

class BuildInfo(TypedDict):
    """What a build is made of; the CUDA fields are None and empty where it has no CUDA kernels."""

    built_against_torch: str
    compiler: str
    cuda_toolkit: str | None
    cuda_architectures: str
    cpu_instruction_sets: list[str]
    cpu_instruction_set: str

def build_info() -> BuildInfo: ...
def cuda_stream_is_reachable() -> bool: ...
def delta_weights(
    slots: int, inputs: int, width: int, layers: int, dim: int, /
) -> list[tuple[str, tuple[int, int, int]]]: ...
def use_instruction_set(name: str) -> None: ...
