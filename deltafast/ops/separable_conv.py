"""MobileStyleGAN's separable modulated convolution: style, inverse wavelet, depthwise, pointwise, noise, activation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from deltafast.errors import InvalidInputError
from deltafast.ops._arguments import (
    accumulation_dtype,
    check_image,
    check_noise,
    check_optional,
    check_slope,
    check_small,
)
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register
from deltafast.ops.wavelet import inverse_haar

__all__ = ["separable_conv", "separable_conv_reference"]

_OP = "separable_conv"


def separable_conv(
    x: torch.Tensor,
    depthwise: torch.Tensor,
    pointwise: torch.Tensor,
    noise: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    style: torch.Tensor | None = None,
    wavelet: bool = False,
    negative_slope: float = 0.2,
    gain: float = 1.0,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Run one layer of MobileStyleGAN, reading its input and writing its result once.

    The native kernel is for CPUs alone; on CUDA impl="auto" takes the reference, and `activated_depthwise` between two
    1x1 convolutions is the same layers cut elsewhere.

    Arguments, all on one device and floating point:
      x: `[N, C, H, W]`, or with `wavelet` the subbands `[N, 4 C, H / 2, W / 2]` (see `inverse_haar`); float32,
        float64, float16 or bfloat16, any strides, best channels-last (the native kernel copies everything else).
      depthwise: `[C, 1, 3, 3]`, of x's dtype.
      pointwise: `[O, C, 1, 1]`, of x's dtype.
      noise: `[N, 1, H, W]`, or `[1, 1, H, W]` for all samples alike, its strength multiplied in; None adds none.
      bias: `[O]`; None stands for 0.
      style: `[N, C]`, with `wavelet` `[N, 4 C]`, the scales of x's channels; None stands for 1.
      wavelet: merge four subbands into twice the size first; the merged image is never stored.
      negative_slope: slope of the leaky ReLU, 0 to 1.
      gain: factor after the leaky ReLU, positive.
      impl: "auto", "native" or "reference".

    Result: `[N, O, H, W]` of x's dtype; in channels-last memory where the native kernel ran. Sums are formed in float32
    (float64 for float64).

    Equivalent to:
        z = x * style[:, :, None, None]
        z = inverse_haar(z) if wavelet else z
        u = F.conv2d(F.conv2d(z, depthwise, padding=1, groups=C), pointwise) + noise + bias[:, None, None]
        y = gain * F.leaky_relu(u, negative_slope)

    Differentiable once in all tensor arguments; differentiating the native gradient again raises `NativeOpError`
    (impl="reference" can be differentiated any number of times).
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has
    no kernel. Source: MobileStyleGAN (arXiv 2104.04767), section 3.
    """
    check_image(_OP, x)
    check_separable_conv(_OP, x, x.shape, depthwise, pointwise, noise, bias, style, wavelet, negative_slope, gain)
    if not runs_natively(_OP, x, impl, kernels=("cpu",)):
        return separable_conv_reference(
            x,
            depthwise,
            pointwise,
            noise,
            bias,
            style=style,
            wavelet=wavelet,
            negative_slope=negative_slope,
            gain=gain,
        )
    accumulate = accumulation_dtype(x)
    result: torch.Tensor = torch.ops.deltafast.separable_conv(
        x,
        depthwise.to(x.dtype),
        pointwise.to(x.dtype),
        None if noise is None else noise.to(accumulate),
        None if bias is None else bias.to(accumulate),
        None if style is None else style.to(accumulate),
        bool(wavelet),
        float(negative_slope),
        float(gain),
    )
    return result  # [N, O, H, W]


def separable_conv_reference(
    x: torch.Tensor,
    depthwise: torch.Tensor,
    pointwise: torch.Tensor,
    noise: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    style: torch.Tensor | None = None,
    wavelet: bool = False,
    negative_slope: float = 0.2,
    gain: float = 1.0,
) -> torch.Tensor:
    """Compute `separable_conv` in plain torch: the same arguments and result, rounded between the steps.

    It checks nothing. The convolutions run in x's dtype, everything else in float32 (float64 for float64).
    """
    accumulate = accumulation_dtype(x)
    z = _modulated(x, style, wavelet)  # [N, C, H, W]
    z = F.conv2d(z, depthwise.to(x.dtype), padding=1, groups=depthwise.shape[0])  # [N, C, H, W]
    u = F.conv2d(z, pointwise.to(x.dtype)).to(accumulate)  # [N, O, H, W]
    if noise is not None:
        u = u + noise.to(accumulate)
    if bias is not None:
        u = u + bias.to(accumulate)[:, None, None]
    y = F.leaky_relu(u, negative_slope)
    if gain != 1.0:
        y = y * gain
    return y.to(x.dtype)  # [N, O, H, W]


def _modulated(x: torch.Tensor, style: torch.Tensor | None, wavelet: bool) -> torch.Tensor:
    if style is not None:
        x = (x * style.to(accumulation_dtype(x))[:, :, None, None]).to(x.dtype)
    return inverse_haar(x) if wavelet else x  # [N, C, H, W]


def check_separable_conv(
    op: str,
    x: torch.Tensor,
    size: Sequence[int],
    depthwise: torch.Tensor,
    pointwise: torch.Tensor,
    noise: torch.Tensor | None,
    bias: torch.Tensor | None,
    style: torch.Tensor | None,
    wavelet: bool,
    negative_slope: float,
    gain: float,
) -> None:
    """Raise `InvalidInputError`, naming `op`, unless a layer fits an input of `size`, on the device of `x`."""
    n, width, height, length = size
    factor = 2 if wavelet else 1
    if width % (factor * factor):
        raise InvalidInputError(f"{op}: with wavelet, x must have 4 C channels, got {width}")
    c = width // (factor * factor)
    check_small(op, "depthwise", depthwise, x, (c, 1, 3, 3), "[C, 1, 3, 3]")
    outputs = pointwise.shape[0] if isinstance(pointwise, torch.Tensor) and pointwise.dim() == 4 else 0
    check_small(op, "pointwise", pointwise, x, (outputs, c, 1, 1), "[O, C, 1, 1]")
    check_noise(op, noise, x, n, (height * factor, length * factor))
    check_optional(op, "bias", bias, x, (outputs,), "[O]")
    check_optional(op, "style", style, x, (n, width), "[N, 4 C]" if wavelet else "[N, C]")
    check_slope(op, negative_slope)
    if not 0.0 < gain < math.inf:
        raise InvalidInputError(f"{op}: gain must be positive and finite, got {gain}")


def _fake(x: torch.Tensor, depthwise: torch.Tensor, pointwise: torch.Tensor, *rest: Any) -> torch.Tensor:
    factor = 2 if rest[3] else 1
    shape = (x.shape[0], pointwise.shape[0], x.shape[2] * factor, x.shape[3] * factor)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _fake_backward(grad: torch.Tensor, x: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    style = rest[3]
    grad_x = torch.empty_like(x, memory_format=torch.channels_last)
    return grad_x, x.new_empty((0 if style is None else x.shape[0], x.shape[1]), dtype=accumulation_dtype(x))


def _fake_backward_weights(
    grad: torch.Tensor, x: torch.Tensor, y: torch.Tensor, depthwise: torch.Tensor, pointwise: torch.Tensor, *rest: Any
) -> tuple[torch.Tensor, ...]:
    sizes = depthwise.shape, pointwise.shape, pointwise.shape[:1], (x.shape[0], 1, *y.shape[2:])
    return tuple(x.new_empty(size, dtype=accumulation_dtype(x)) for size in sizes)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, depthwise, pointwise, noise, _, style, *ctx.constants = inputs
    ctx.one_noise_map = noise is not None and noise.shape[0] != x.shape[0]
    ctx.save_for_backward(x, depthwise, pointwise, style, output)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
    x, depthwise, pointwise, style, y = ctx.saved_tensors
    needs_x, needs_depthwise, needs_pointwise, needs_noise, needs_bias, needs_style, *_ = ctx.needs_input_grad
    wavelet, negative_slope, gain = ctx.constants
    gradients: list[torch.Tensor | None] = [None] * 9  # of x, depthwise, pointwise, noise, bias, style
    if needs_x or needs_style:
        gradients[0], of_style = torch.ops.deltafast.separable_conv_backward(
            grad, x, y, depthwise, pointwise, style, wavelet, negative_slope, gain
        )
        gradients[5] = of_style if needs_style else None
    if needs_depthwise or needs_pointwise or needs_noise or needs_bias:
        of_depthwise, of_pointwise, of_bias, of_noise = torch.ops.deltafast.separable_conv_backward_weights(
            grad, x, y, depthwise, pointwise, style, wavelet, negative_slope, gain
        )
        gradients[1] = of_depthwise.to(depthwise.dtype) if needs_depthwise else None
        gradients[2] = of_pointwise.to(pointwise.dtype) if needs_pointwise else None
        if needs_noise:
            gradients[3] = of_noise.sum(0, keepdim=True) if ctx.one_noise_map else of_noise
        gradients[4] = of_bias if needs_bias else None
    return tuple(gradients)


register("separable_conv", fake=_fake, backward=_backward, setup_context=_setup_context)
register("separable_conv_backward", fake=_fake_backward, differentiable=False)
register("separable_conv_backward_weights", fake=_fake_backward_weights, differentiable=False)
