"""Which convolution runs on CUDA: cuDNN's between kernels of ours, or ours on tensor cores with all that follows it."""

from __future__ import annotations

import os
from typing import Literal

import torch

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops._library import Impl
from deltafast.ops.devices import takes_cuda_kernels

__all__ = ["CAPABILITIES_SEEN_RIGHT", "ConvImpl", "ConvPath", "OURS", "chosen_path", "other_impl"]

ConvPath = Literal["cudnn", "mma"]
ConvImpl = Literal["auto", "native", "reference", "cudnn", "mma"]

_SWITCH = "DELTAFAST_CONV"
_OLDEST = (8, 0)  # the compute capability from which on there is `mma.sync` with bfloat16, and `cp.async`
_CHANNELS = 8  # that 16 bytes hold
_DTYPES = (torch.float16, torch.bfloat16)

# Compute capability -> up to how many output channels a layer is ours, without and with up-sampling. From
# benchmarks/results/convolution_model.json, a model on paper, until there are measurements. A capability that is not
# listed takes the row of the last one before it.
OURS: dict[tuple[int, int], dict[str, int]] = {
    (8, 0): {"plain": 64, "up": 64},
    (9, 0): {"plain": 32, "up": 32},
}
# Capabilities on which docs/gpu-verified.md has seen these kernels right. Elsewhere they run only where they are asked
# for.
CAPABILITIES_SEEN_RIGHT: frozenset[tuple[int, int]] = frozenset()


def chosen_path(op: str, x: torch.Tensor, weight: torch.Tensor, impl: ConvImpl, *, up: int = 1) -> ConvPath:
    """Return how `x` `[N, C, H, W]` is convolved by `weight` `[O, C, k, k]` on CUDA.

    `impl="cudnn"` or `"mma"` say it; with "auto" and "native", the environment variable DELTAFAST_CONV does: "cudnn",
    "mma" (wherever these kernels can run) or "table" (`OURS`). Where neither does, it is the table on GPUs of a
    capability on which the kernels were seen right, and cuDNN on others.
    Raises `NativeOpError` where impl="mma" has no kernel, and `InvalidInputError` for another DELTAFAST_CONV.
    """
    if impl == "cudnn":
        return "cudnn"
    serves = _serves(x, weight)
    if impl == "mma":
        if not serves:
            raise NativeOpError(f"{op}: impl='mma' cannot run: {_why_not(x, weight)}. Use impl='auto'.")
        return "mma"
    if not serves:
        return "cudnn"
    switch = _switch()
    if switch not in ("", "cudnn", "mma", "table"):
        raise InvalidInputError(f"{_SWITCH} must be 'cudnn', 'mma' or 'table', got {switch!r}")
    if switch in ("cudnn", "mma"):
        return "mma" if switch == "mma" else "cudnn"
    capability = _capability(x.device)
    if not switch and capability not in CAPABILITIES_SEEN_RIGHT:
        return "cudnn"
    row = OURS[max(listed for listed in OURS if listed <= capability)]
    return "mma" if weight.shape[2] == 3 and weight.shape[0] <= row["up" if up == 2 else "plain"] else "cudnn"


def other_impl(impl: ConvImpl) -> Impl:
    """Return what `impl` says to the ops that run beside the convolution."""
    if impl == "cudnn" or impl == "mma":
        return "auto"
    return impl


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _switch() -> str:
    return os.environ.get(_SWITCH, "")


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else _OLDEST  # the emulation's


def _serves(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether the kernels take these."""
    if not takes_cuda_kernels(x) or x.dtype not in _DTYPES or weight.dtype != x.dtype or 0 in x.shape[2:]:
        return False
    return x.shape[1] % _CHANNELS == weight.shape[0] % _CHANNELS == 0 and _capability(x.device) >= _OLDEST


def _why_not(x: torch.Tensor, weight: torch.Tensor) -> str:
    """Say why the kernels do not take these."""
    if not takes_cuda_kernels(x):
        return f"there is no such kernel for device type '{x.device.type}'"
    if x.dtype not in _DTYPES or weight.dtype != x.dtype:
        return f"x and weight must both be float16 or bfloat16, they are {x.dtype} and {weight.dtype}"
    if x.shape[1] % _CHANNELS or weight.shape[0] % _CHANNELS:
        return f"channels must be multiples of {_CHANNELS}, they are {x.shape[1]} and {weight.shape[0]}"
    if 0 in x.shape[2:]:
        return "the image is empty"
    return f"compute capability 8.0 is needed, this GPU has {'.'.join(map(str, _capability(x.device)))}"
