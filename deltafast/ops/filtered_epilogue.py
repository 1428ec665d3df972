"""A separable FIR filter and the fused epilogue behind it, in one pass: what follows an up-sampling convolution."""

from __future__ import annotations

import math
from typing import Any

import torch

from deltafast.errors import InvalidInputError
from deltafast.ops._arguments import check_image, dense, result_format
from deltafast.ops._epilogue import Epilogue
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register
from deltafast.ops.modulated_epilogue import gradients_of_small, modulated_epilogue
from deltafast.ops.upfirdn2d import Padding, four_sides, upfirdn2d, upfirdn2d_reference

__all__ = ["filtered_epilogue", "filtered_epilogue_reference"]

_OP = "filtered_epilogue"
_MAX_TAPS = 16  # kMaxEpilogueTaps in csrc/kernels/filtered_epilogue.h


def filtered_epilogue(
    x: torch.Tensor,
    f: torch.Tensor,
    demod: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    noise_strength: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    padding: Padding = 0,
    filter_gain: float = 1.0,
    next_style: torch.Tensor | None = None,
    negative_slope: float = 0.2,
    gain: float = math.sqrt(2.0),
    clamp: float | None = None,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Pad and filter an image along both axes and apply the epilogue of a modulated convolution, in one pass.

    Arguments:
      x: `[N, C, H, W]`; float32, float64, float16 or bfloat16. Channels-last is the fast layout: a contiguous x takes
        two passes, through `upfirdn2d` and `modulated_epilogue`.
      f: float32 `[k]`, k = 1 to 16, applied along both axes, as `setup_filter` makes it; a constant.
      padding: one number for all sides, (x, y), or (x0, x1, y0, y1): pixels of zeros on the left, right, top and
        bottom, not negative.
      filter_gain: factor of the whole filter.
      demod, noise, noise_strength, bias, next_style, negative_slope, gain, clamp: as in `modulated_epilogue`, for the
        filter's result; noise is `[N or 1, 1, H', W']`.
      impl: "auto", "native" or "reference".

    Result: `[N, C, H', W']`, H' = H + y0 + y1 - k + 1 and W' alike, of x's dtype and memory format; accumulated in
    float32 (float64 for float64) and rounded once.

    Equivalent to:
        modulated_epilogue(upfirdn2d(x, f, padding=padding, gain=filter_gain), demod, noise, ...)

    Differentiable once in all tensors but f; differentiating the native gradient again raises `NativeOpError`
    (impl="reference" can be differentiated any number of times).
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has
    no kernel. Source: StyleGAN2 (arXiv 1912.04958), appendix B.
    """
    pad = _check(x, f, padding, filter_gain)
    height = x.shape[2] + pad[2] + pad[3] - f.shape[0] + 1
    width = x.shape[3] + pad[0] + pad[1] - f.shape[0] + 1
    epilogue = Epilogue(demod, noise, noise_strength, bias, next_style, negative_slope, gain, clamp)
    epilogue.check(_OP, x, (height, width))
    if not runs_natively(_OP, x, impl):
        return epilogue.apply(upfirdn2d_reference(x, f, padding=pad, gain=filter_gain))
    x = dense(x)
    if result_format(x) is torch.contiguous_format:
        y = upfirdn2d(x, f, padding=pad, gain=filter_gain, impl="native")
        return modulated_epilogue(y, **epilogue.named, impl="native")
    result: torch.Tensor = torch.ops.deltafast.filtered_epilogue(
        x, f, *pad, float(filter_gain), *epilogue.for_kernel(x)
    )
    return result  # [N, C, H', W']


def filtered_epilogue_reference(
    x: torch.Tensor,
    f: torch.Tensor,
    demod: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    noise_strength: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    padding: Padding = 0,
    filter_gain: float = 1.0,
    next_style: torch.Tensor | None = None,
    negative_slope: float = 0.2,
    gain: float = math.sqrt(2.0),
    clamp: float | None = None,
) -> torch.Tensor:
    """Compute `filtered_epilogue` in plain torch, rounded to x's dtype between the two. Raises what torch raises."""
    y = upfirdn2d_reference(x, f, padding=padding, gain=filter_gain)  # [N, C, H', W']
    return Epilogue(demod, noise, noise_strength, bias, next_style, negative_slope, gain, clamp).apply(y)


def _check(x: torch.Tensor, f: torch.Tensor, padding: Padding, filter_gain: float) -> tuple[int, int, int, int]:
    check_image(_OP, x)
    if not isinstance(f, torch.Tensor) or f.dim() != 1 or f.dtype != torch.float32 or not 1 <= f.numel() <= _MAX_TAPS:
        got = f"{f.dtype} {list(f.shape)}" if isinstance(f, torch.Tensor) else type(f).__name__
        raise InvalidInputError(f"{_OP}: f must be float32 [k], k = 1 to {_MAX_TAPS} (see setup_filter), got {got}")
    if f.device != x.device:
        raise InvalidInputError(f"{_OP}: f is on {f.device}, but x is on {x.device}")
    if f.requires_grad:
        raise InvalidInputError(f"{_OP}: f is a constant and must not require a gradient; pass f.detach()")
    if not abs(filter_gain) < math.inf:
        raise InvalidInputError(f"{_OP}: filter_gain must be finite, got {filter_gain}")
    pad = four_sides(_OP, padding)
    if min(pad) < 0:
        raise InvalidInputError(f"{_OP}: padding must not be negative, got {pad}; crop x instead")
    height, width = x.shape[2] + pad[2] + pad[3], x.shape[3] + pad[0] + pad[1]
    if min(height, width) < f.shape[0]:
        raise InvalidInputError(
            f"{_OP}: the filter, {f.shape[0]} x {f.shape[0]}, is larger than the padded image, {height} x {width}"
        )
    return pad


def _fake(
    x: torch.Tensor, f: torch.Tensor, pad_x0: int, pad_x1: int, pad_y0: int, pad_y1: int, *_: Any
) -> torch.Tensor:
    n, c, h, w = x.shape
    height, width = h + pad_y0 + pad_y1 - f.shape[0] + 1, w + pad_x0 + pad_x1 - f.shape[0] + 1
    shape = (n, c, height, width)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, f, *pad_and_gain = inputs[:7]
    ctx.save_for_backward(x, f, *inputs[7:12])
    ctx.pad_and_gain = pad_and_gain
    ctx.constants = inputs[12:]


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
    x, f, demod, noise, noise_strength, bias, next_style = ctx.saved_tensors
    x0, x1, y0, y1, filter_gain = ctx.pad_and_gain
    needs = ctx.needs_input_grad[7:12]
    # The filter's result is not stored but computed anew.
    filtered = torch.ops.deltafast.upfirdn2d(x, f, 1, 1, x0, x1, y0, y1, False, filter_gain)  # [N, C, H', W']
    grad_filtered, sums, grad_noise = torch.ops.deltafast.modulated_epilogue_backward(
        grad, filtered, demod, noise, noise_strength, bias, next_style, *ctx.constants, needs[1]
    )
    beyond = f.shape[0] - 1
    back = (beyond - x0, beyond - x1, beyond - y0, beyond - y1)
    grad_x = torch.ops.deltafast.upfirdn2d(grad_filtered, f, 1, 1, *back, True, filter_gain)  # [N, C, H, W]
    small = gradients_of_small(sums, grad_noise, noise, needs)
    return grad_x, None, None, None, None, None, None, *small, None, None, None


register("filtered_epilogue", fake=_fake, backward=_backward, setup_context=_setup_context)
