"""Checks of tensor arguments, made before anything reaches torch, and the rule for the layout of results."""

from __future__ import annotations

import torch

from deltafast.errors import InvalidInputError


def check_image(op: str, x: torch.Tensor) -> None:
    """Raise `InvalidInputError` unless `x` is a floating-point tensor `[N, C, H, W]`."""
    if not isinstance(x, torch.Tensor):
        raise InvalidInputError(f"{op}: x must be a tensor [N, C, H, W], got {type(x).__name__}")
    if x.dim() != 4:
        raise InvalidInputError(f"{op}: x must be [N, C, H, W], got {x.dim()} dimensions, {list(x.shape)}")
    if x.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise InvalidInputError(f"{op}: x must be float32, float64, float16 or bfloat16, got {x.dtype}")


def check_small(op: str, name: str, t: torch.Tensor, x: torch.Tensor, shape: tuple[int, ...], says: str) -> None:
    """Raise `InvalidInputError` unless `t` is a floating-point tensor of `shape` (written `says`) beside `x`."""
    if not isinstance(t, torch.Tensor):
        raise InvalidInputError(f"{op}: {name} must be a tensor {says}, got {type(t).__name__}")
    if not t.dtype.is_floating_point:
        raise InvalidInputError(f"{op}: {name} must be of a floating-point dtype, got {t.dtype}")
    if t.device != x.device:
        raise InvalidInputError(f"{op}: {name} is on {t.device}, but x is on {x.device}")
    if tuple(t.shape) != shape:
        raise InvalidInputError(f"{op}: {name} must be {says} = {list(shape)}, got {list(t.shape)}")


def check_optional(
    op: str, name: str, t: torch.Tensor | None, x: torch.Tensor, shape: tuple[int, ...], says: str
) -> None:
    """Raise what `check_small` raises, unless `t` is None."""
    if t is not None:
        check_small(op, name, t, x, shape, says)


def check_slots(op: str, index: torch.Tensor, ws: torch.Tensor) -> None:
    """Raise `InvalidInputError` unless `index` is int64 `[S]` beside `ws` and names distinct slots of `[N, num_ws, D]`.

    Its values are looked at on CPUs alone, where that costs nothing, and not while a graph is made.
    """
    if (
        not isinstance(index, torch.Tensor)
        or index.dtype != torch.int64
        or index.dim() != 1
        or index.device != ws.device
    ):
        raise InvalidInputError(f"{op}: index must be int64 [S] on {ws.device}")
    slots, num_ws = index.shape[0], ws.shape[1]
    if slots > num_ws:
        raise InvalidInputError(f"{op}: index names {slots} W+ slots of {num_ws}; they must be distinct")
    if index.device.type == "cpu" and type(index) is torch.Tensor and not torch.compiler.is_compiling():
        values = index.tolist()
        if len(set(values)) != slots or not all(0 <= value < num_ws for value in values):
            raise InvalidInputError(f"{op}: index must name distinct W+ slots, 0 to {num_ws - 1}; got {values[:40]}")


def check_noise(op: str, noise: torch.Tensor | None, x: torch.Tensor, samples: int, size: tuple[int, int]) -> None:
    """Raise `InvalidInputError` unless `noise` is None or a map of `size` (height, width) for each sample, or for all.

    `samples` is N, and `x` a tensor on the op's device.
    """
    one = isinstance(noise, torch.Tensor) and noise.dim() == 4 and noise.shape[0] == 1
    check_optional(op, "noise", noise, x, (1 if one else samples, 1, *size), "[N or 1, 1, H, W]")


def check_slope(op: str, negative_slope: float) -> None:
    """Raise `InvalidInputError` unless this is the slope of a leaky ReLU that an op takes."""
    if not 0.0 <= negative_slope <= 1.0:
        raise InvalidInputError(f"{op}: negative_slope must be in 0..1, got {negative_slope}")


def accumulation_dtype(x: torch.Tensor) -> torch.dtype:
    """Return the dtype in which an op on `x` accumulates: float64 for float64, float32 for everything else."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def dense(x: torch.Tensor) -> torch.Tensor:
    """Return `x` itself if it is contiguous or channels-last, else a copy in the layout that is nearer to its own."""
    if x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last):
        return x
    if x.shape[1] > 1 and x.stride(1) == 1:
        return x.contiguous(memory_format=torch.channels_last)
    return x.contiguous()


def result_format(x: torch.Tensor) -> torch.memory_format:
    """Return the memory format of a native op's result for input `x`; `dense_image` in csrc/ops is its twin."""
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format
