"""Up-sample, pad, FIR-filter and down-sample images in one pass (StyleGAN's resampling)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from deltafast.errors import InvalidInputError
from deltafast.ops._arguments import accumulation_dtype, check_image, dense, result_format
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register

__all__ = ["setup_filter", "upfirdn2d", "upfirdn2d_reference"]

_OP = "upfirdn2d"
Padding = int | Sequence[int]


def setup_filter(
    taps: Sequence[float] | Sequence[Sequence[float]] | torch.Tensor, normalize: bool = True
) -> torch.Tensor:
    """Return a FIR filter for `upfirdn2d` as a float32 tensor.

    `taps` are `[k]` numbers for a separable filter (applied along both axes) or `[kh, kw]`; with `normalize` they are
    scaled to a sum of 1. Raises `InvalidInputError` for an empty, non-finite or higher-dimensional filter, and for a
    sum of zero that cannot be normalised.
    """
    try:
        f = torch.as_tensor(taps, dtype=torch.float32).detach().clone()
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"setup_filter: taps must be numbers [k] or [kh, kw] ({error})") from error
    if f.dim() not in (1, 2) or f.numel() == 0:
        raise InvalidInputError(f"setup_filter: taps must be [k] or [kh, kw], not empty, got {list(f.shape)}")
    if not bool(torch.isfinite(f).all()):
        raise InvalidInputError("setup_filter: taps must be finite")
    if normalize:
        total = f.sum()
        if float(total) == 0.0:
            raise InvalidInputError("setup_filter: the taps sum to 0 and cannot be normalised; pass normalize=False")
        f = f / total
    return f  # [k] or [kh, kw]


def upfirdn2d(
    x: torch.Tensor,
    f: torch.Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Insert `up - 1` zeros after each pixel, pad, convolve with `f`, keep every `down`-th pixel.

    Arguments:
      x: `[N, C, H, W]`; float32, float64, float16 or bfloat16, contiguous or channels-last (other strides are copied).
      f: float32 `[k]` (separable: applied along both axes) or `[kh, kw]`, as `setup_filter` makes it; a constant, so
        it must not require a gradient.
      up, down: factors, at least 1.
      padding: one number for all sides, (x, y), or (x0, x1, y0, y1): pixels of zeros on the left, right, top and
        bottom of the up-sampled image; negative numbers crop.
      flip_filter: False convolves, True correlates.
      gain: factor of the result (for the whole filter, not per axis).
      impl: "auto", "native" or "reference".

    Result: `[N, C, H', W']` with H' = (H * up + y0 + y1 - kh) // down + 1 and W' alike, of x's dtype and memory format;
    accumulated in float32 (float64 for float64).

    Equivalent to (padding not negative):
        z = x.new_zeros(N, C, H, up, W, up)
        z[:, :, :, 0, :, 0] = x
        z = F.pad(z.reshape(N, C, H * up, W * up), [x0, x1, y0, y1])
        y = F.conv2d(z, gain * f.flip(0, 1).expand(C, 1, kh, kw), groups=C)[:, :, ::down, ::down]

    Differentiable in x any number of times: the gradient is another upfirdn2d.
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has
    no kernel. Source: StyleGAN2 (arXiv 1912.04958), appendix B.
    """
    pad = _check(x, f, up, down, padding, gain)
    if not runs_natively(_OP, x, impl):
        return upfirdn2d_reference(x, f, up=up, down=down, padding=pad, flip_filter=flip_filter, gain=gain)
    result: torch.Tensor = torch.ops.deltafast.upfirdn2d(
        dense(x), f, int(up), int(down), *pad, bool(flip_filter), float(gain)
    )
    return result  # [N, C, H', W']


def upfirdn2d_reference(
    x: torch.Tensor,
    f: torch.Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
) -> torch.Tensor:
    """Compute `upfirdn2d` in plain torch: the same arguments, result and rounding. Raises what torch raises."""
    x0, x1, y0, y1 = four_sides(_OP, padding)
    n, c, h, w = x.shape
    accumulate = accumulation_dtype(x)
    z = x.to(accumulate).reshape(n, c, h, 1, w, 1)
    z = F.pad(z, [0, up - 1, 0, 0, 0, up - 1]).reshape(n, c, h * up, w * up)  # [N, C, H * up, W * up]
    z = F.pad(z, [x0, x1, y0, y1])  # negative sides crop
    taps = f.to(accumulate)
    if not flip_filter:
        taps = taps.flip(list(range(taps.dim())))
    if taps.dim() == 1:
        z = F.conv2d(z, (gain * taps)[None, None, :, None].expand(c, 1, -1, 1), groups=c)
        z = F.conv2d(z, taps[None, None, None, :].expand(c, 1, 1, -1), groups=c)
    else:
        z = F.conv2d(z, (gain * taps)[None, None].expand(c, 1, -1, -1), groups=c)
    return z[:, :, ::down, ::down].to(x.dtype)  # [N, C, H', W']


def four_sides(op: str, padding: Padding) -> tuple[int, int, int, int]:
    """Return the padding of the left, right, top and bottom; raise `InvalidInputError` that names `op`."""
    if isinstance(padding, int):
        return padding, padding, padding, padding
    sides = tuple(padding)
    if len(sides) == 2:
        return sides[0], sides[0], sides[1], sides[1]
    if len(sides) == 4:
        return sides[0], sides[1], sides[2], sides[3]
    raise InvalidInputError(f"{op}: padding must be one number, (x, y) or (x0, x1, y0, y1), got {padding!r}")


def _check(
    x: torch.Tensor, f: torch.Tensor, up: int, down: int, padding: Padding, gain: float
) -> tuple[int, int, int, int]:
    check_image(_OP, x)
    if not isinstance(f, torch.Tensor) or f.dim() not in (1, 2) or f.dtype != torch.float32 or 0 in f.shape:
        got = f"{f.dtype} {list(f.shape)}" if isinstance(f, torch.Tensor) else type(f).__name__
        raise InvalidInputError(f"{_OP}: f must be float32 [k] or [kh, kw] (see setup_filter), got {got}")
    if f.device != x.device:
        raise InvalidInputError(f"{_OP}: f is on {f.device}, but x is on {x.device}")
    if f.requires_grad:
        raise InvalidInputError(f"{_OP}: f is a constant and must not require a gradient; pass f.detach()")
    if isinstance(up, float) or isinstance(down, float) or up < 1 or down < 1:
        raise InvalidInputError(f"{_OP}: up and down must be whole numbers of at least 1, got up={up}, down={down}")
    if not abs(gain) < math.inf:
        raise InvalidInputError(f"{_OP}: gain must be finite, got {gain}")
    x0, x1, y0, y1 = pad = four_sides(_OP, padding)
    height, width = x.shape[2] * up + y0 + y1, x.shape[3] * up + x0 + x1
    if height < f.shape[0] or width < f.shape[-1]:
        raise InvalidInputError(
            f"{_OP}: the filter, {f.shape[0]} x {f.shape[-1]}, is larger than the up-sampled and padded image, "
            f"{height} x {width}"
        )
    return pad


def _fake(
    x: torch.Tensor, f: torch.Tensor, up: int, down: int, pad_x0: int, pad_x1: int, pad_y0: int, pad_y1: int, *_: Any
) -> torch.Tensor:
    n, c, h, w = x.shape
    height = (h * up + pad_y0 + pad_y1 - f.shape[0]) // down + 1
    width = (w * up + pad_x0 + pad_x1 - f.shape[-1]) // down + 1
    return torch.empty((n, c, height, width), dtype=x.dtype, device=x.device, memory_format=result_format(x))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, f, *ctx.constants = inputs
    ctx.save_for_backward(f)
    ctx.sizes = x.shape[2], x.shape[3], output.shape[2], output.shape[3]


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
    (f,) = ctx.saved_tensors
    up, down, x0, _, y0, _, flip_filter, gain = ctx.constants
    h, w, out_h, out_w = ctx.sizes
    # The transpose of "stuff, pad, filter, decimate" swaps up and down and turns the filter round; the near side's
    # padding is what is left of the filter beyond it, the far side's what makes the size that of x again.
    taps_h, taps_w = f.shape[0], f.shape[-1]
    back_x0, back_y0 = taps_w - 1 - x0, taps_h - 1 - y0
    back_x1 = w * up - out_w * down + x0 - up + 1
    back_y1 = h * up - out_h * down + y0 - up + 1
    grad_x = torch.ops.deltafast.upfirdn2d(
        dense(grad), f, down, up, back_x0, back_x1, back_y0, back_y1, not flip_filter, gain
    )  # [N, C, H, W]
    return grad_x, None, None, None, None, None, None, None, None, None


register("upfirdn2d", fake=_fake, backward=_backward, setup_context=_setup_context)
