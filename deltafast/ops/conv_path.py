"""Which convolution runs on CUDA: cuDNN's between kernels of ours, or ours on tensor cores with all that follows it."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

import torch

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops._library import HAS_SM90_KERNELS, Impl
from deltafast.ops.devices import takes_cuda_kernels

__all__ = ["CAPABILITIES_SEEN_RIGHT", "ConvImpl", "ConvPath", "OURS", "chosen_path", "listed_path", "other_impl"]

ConvPath = Literal["cudnn", "mma", "wgmma"]
ConvImpl = Literal["auto", "native", "reference", "cudnn", "mma", "wgmma"]

_SWITCH = "DELTAFAST_CONV"
_switch = os.environ.get(_SWITCH, "")  # read once: torch.compile takes it for a constant
_OLDEST = (8, 0)  # the compute capability from which on there is `mma.sync` with bfloat16, and `cp.async`
_WGMMA = (9, 0)  # the one that has `wgmma`
_CHANNELS = 8  # that 16 bytes hold
_SIDE, _UP = 3, 2
_DTYPES = (torch.float16, torch.bfloat16)


class Row(NamedTuple):
    """Layers that are ours: 3x3 kernels with up to so many output channels, with up-sampling (`up`) or without."""

    path: ConvPath
    up: bool
    outputs: int


# Compute capability, in order -> the rows of the table, of which the first that fits counts; what none fits is cuDNN's.
# From benchmarks/results/convolution_model.json, a model on paper, until there are measurements. A capability that is
# not listed takes the rows of the last one before it, but for those of "wgmma".
OURS: dict[tuple[int, int], tuple[Row, ...]] = {
    (8, 0): (Row("mma", False, 64), Row("mma", True, 64)),
    (9, 0): (Row("mma", False, 32), Row("mma", True, 32), Row("wgmma", False, 128)),
}
# Paths -> the capabilities on which docs/gpu-verified.md has seen their kernels right. Elsewhere they run only where
# they are asked for.
CAPABILITIES_SEEN_RIGHT: dict[ConvPath, frozenset[tuple[int, int]]] = {"mma": frozenset(), "wgmma": frozenset()}


def chosen_path(op: str, x: torch.Tensor, weight: torch.Tensor, impl: ConvImpl, *, up: int = 1) -> ConvPath:
    """Return how `x` `[N, C, H, W]` is convolved by `weight` `[O, C, k, k]` on CUDA.

    `impl="cudnn"`, `"mma"` or `"wgmma"` say it; with "auto" and "native", the environment variable DELTAFAST_CONV does:
    "cudnn", "mma" or "wgmma" (these wherever they can run) or "table" (`OURS`). Where neither does, it is the table on
    GPUs of a capability on which the kernels were seen right, and cuDNN on others.
    Raises `NativeOpError` where impl="mma" or "wgmma" has no kernel, and `InvalidInputError` for another
    DELTAFAST_CONV.
    """
    if impl == "cudnn":
        return "cudnn"
    if impl == "mma" or impl == "wgmma":
        why_not = _why_not(impl, x, weight)
        if why_not:
            raise NativeOpError(f"{op}: impl={impl!r} cannot run: {why_not}. Use impl='auto'.")
        return impl
    if _why_not("mma", x, weight):  # what "wgmma" takes, "mma" takes as well
        return "cudnn"
    if _switch not in ("", "cudnn", "mma", "wgmma", "table"):
        raise InvalidInputError(f"{_SWITCH} must be 'cudnn', 'mma', 'wgmma' or 'table', got {_switch!r}")
    if _switch == "mma":
        return "mma"
    if _switch == "wgmma" and not _why_not("wgmma", x, weight):
        return "wgmma"
    if _switch in ("cudnn", "wgmma") or weight.shape[2] != _SIDE:
        return "cudnn"
    path = listed_path(weight.shape[0], up == _UP, _capability(x.device), seen_alone=not _switch)
    return "cudnn" if path == "wgmma" and _why_not("wgmma", x, weight) else path


def listed_path(outputs: int, up: bool, capability: tuple[int, int], *, seen_alone: bool = False) -> ConvPath:
    """Return the table's path for a layer, with `seen_alone` of those whose kernels were seen right on this GPU."""
    rows: tuple[Row, ...] = ()
    for listed, of_listed in OURS.items():  # in their order, which torch.compile can follow
        if listed <= capability:
            rows = of_listed
    for path, row_up, most in rows:
        if row_up != up or outputs > most or (path == "wgmma" and capability != _WGMMA):
            continue
        if not seen_alone or capability in CAPABILITIES_SEEN_RIGHT[path]:
            return path
    return "cudnn"


def other_impl(impl: ConvImpl) -> Impl:
    """Return what `impl` says to the ops that run beside the convolution."""
    if impl == "cudnn" or impl == "mma" or impl == "wgmma":
        return "auto"
    return impl


def _capability(device: torch.device) -> tuple[int, int]:
    if device.type != "cuda":
        return _WGMMA  # the emulation's
    properties = torch.cuda.get_device_properties(device)  # torch.compile takes it for a constant
    return properties.major, properties.minor


def _why_not(path: ConvPath, x: torch.Tensor, weight: torch.Tensor) -> str:
    """Say why the kernels of "mma" or "wgmma" do not take these; empty where they do."""
    if not takes_cuda_kernels(x):
        return f"there is no such kernel for device type '{x.device.type}'"
    if x.dtype not in _DTYPES or weight.dtype != x.dtype:
        return f"x and weight must both be float16 or bfloat16, they are {x.dtype} and {weight.dtype}"
    if x.shape[1] % _CHANNELS or weight.shape[0] % _CHANNELS:
        return f"channels must be multiples of {_CHANNELS}, they are {x.shape[1]} and {weight.shape[0]}"
    if 0 in x.shape[2:]:
        return "the image is empty"
    capability = _capability(x.device)
    if path == "wgmma" and not HAS_SM90_KERNELS:
        return "this build has no kernels for sm_90a"
    if capability < _OLDEST or (path == "wgmma" and capability != _WGMMA):
        return f"compute capability {'9.0' if path == 'wgmma' else '8.0'} is needed, this GPU has " + ".".join(
            map(str, capability)
        )
    return ""
