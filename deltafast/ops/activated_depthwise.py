"""What lies between two 1x1 convolutions of MobileStyleGAN: activation, style, inverse wavelet, depthwise 3x3."""

from __future__ import annotations

import math
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

__all__ = ["activated_depthwise", "activated_depthwise_reference"]

_OP = "activated_depthwise"


def activated_depthwise(
    u: torch.Tensor,
    depthwise: torch.Tensor,
    noise: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    style: torch.Tensor | None = None,
    wavelet: bool = False,
    negative_slope: float = 0.2,
    gain: float = 1.0,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Finish one layer of MobileStyleGAN and begin the next, in one pass over memory.

    Between cuDNN's 1x1 convolutions this is all that is left to do: `u` is what the convolution before gave, the result
    is what the one behind takes. The native kernel is for CUDA alone; on CPUs impl="auto" takes the reference, and
    `separable_conv` is the same layers cut elsewhere.

    Arguments, all on one device and floating point:
      u: `[N, C, H, W]`, or with `wavelet` the subbands `[N, 4 C, H / 2, W / 2]` (see `inverse_haar`); float32,
        float64, float16 or bfloat16, any strides, best channels-last (everything else is copied).
      depthwise: `[C, 1, 3, 3]`.
      noise: `[N, 1, h, w]`, or `[1, 1, h, w]` for all samples alike, of the size of u, its strength multiplied in;
        None adds none.
      bias: `[channels of u]`; None stands for 0.
      style: `[N, channels of u]`, the scales of the activated channels; None stands for 1.
      wavelet: merge four subbands into twice the size before the convolution.
      negative_slope: slope of the leaky ReLU, 0 to 1; with 1 and gain 1 nothing is activated.
      gain: factor after the leaky ReLU.
      impl: "auto", "native" or "reference".

    Result: `[N, C, H, W]` of u's dtype; in channels-last memory where the native kernel ran. Everything is computed in
    float32 (float64 for float64); what enters the convolution is rounded to u's dtype.

    Equivalent to:
        v = gain * F.leaky_relu(u + noise + bias[:, None, None], negative_slope) * style[:, :, None, None]
        z = F.conv2d(inverse_haar(v) if wavelet else v, depthwise, padding=1, groups=C)

    Differentiable once in all tensor arguments; differentiating the native gradient again raises `NativeOpError`
    (impl="reference" can be differentiated any number of times).
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has
    no kernel. Source: MobileStyleGAN (arXiv 2104.04767), section 3.
    """
    _check(u, depthwise, noise, bias, style, wavelet, negative_slope, gain)
    accumulate = accumulation_dtype(u)
    arguments = (
        depthwise.to(accumulate),
        None if noise is None else noise.to(accumulate),
        None if bias is None else bias.to(accumulate),
        None if style is None else style.to(accumulate),
        bool(wavelet),
        float(negative_slope),
        float(gain),
    )
    if not runs_natively(_OP, u, impl, kernels=("cuda",)):
        return _reference(u, *arguments)
    result: torch.Tensor = torch.ops.deltafast.activated_depthwise(u, *arguments)
    return result  # [N, C, H, W]


def activated_depthwise_reference(
    u: torch.Tensor,
    depthwise: torch.Tensor,
    noise: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    style: torch.Tensor | None = None,
    wavelet: bool = False,
    negative_slope: float = 0.2,
    gain: float = 1.0,
) -> torch.Tensor:
    """Compute `activated_depthwise` in plain torch: the same arguments and result.

    It checks nothing. The convolution runs in u's dtype, everything before it in float32 (float64 for float64).
    """
    return _reference(u, depthwise, noise, bias, style, wavelet, negative_slope, gain)


def _reference(
    u: torch.Tensor,
    depthwise: torch.Tensor,
    noise: torch.Tensor | None,
    bias: torch.Tensor | None,
    style: torch.Tensor | None,
    wavelet: bool,
    negative_slope: float,
    gain: float,
) -> torch.Tensor:
    v = _modulated(u, noise, bias, style, wavelet, negative_slope, gain)  # [N, C, H, W]
    return F.conv2d(v, depthwise.to(u.dtype), padding=1, groups=depthwise.shape[0])  # [N, C, H, W]


def _modulated(
    u: torch.Tensor,
    noise: torch.Tensor | None,
    bias: torch.Tensor | None,
    style: torch.Tensor | None,
    wavelet: bool,
    negative_slope: float,
    gain: float,
) -> torch.Tensor:
    accumulate = accumulation_dtype(u)
    v = u.to(accumulate)
    if noise is not None:
        v = v + noise.to(accumulate)
    if bias is not None:
        v = v + bias.to(accumulate)[:, None, None]
    v = F.leaky_relu(v, negative_slope) * gain
    if style is not None:
        v = v * style.to(accumulate)[:, :, None, None]
    return (inverse_haar(v) if wavelet else v).to(u.dtype)  # [N, C, H, W]


def _check(
    u: torch.Tensor,
    depthwise: torch.Tensor,
    noise: torch.Tensor | None,
    bias: torch.Tensor | None,
    style: torch.Tensor | None,
    wavelet: bool,
    negative_slope: float,
    gain: float,
) -> None:
    check_image(_OP, u)
    n, width, h, w = u.shape
    if wavelet and width % 4:
        raise InvalidInputError(f"{_OP}: with wavelet, u must have 4 C channels, got {width}")
    c = width // 4 if wavelet else width
    check_small(_OP, "depthwise", depthwise, u, (c, 1, 3, 3), "[C, 1, 3, 3]")
    check_noise(_OP, noise, u, n, (h, w))
    check_optional(_OP, "bias", bias, u, (width,), "[4 C]" if wavelet else "[C]")
    check_optional(_OP, "style", style, u, (n, width), "[N, 4 C]" if wavelet else "[N, C]")
    check_slope(_OP, negative_slope)
    if not abs(gain) < math.inf:
        raise InvalidInputError(f"{_OP}: gain must be finite, got {gain}")


def _fake(u: torch.Tensor, depthwise: torch.Tensor, *rest: Any) -> torch.Tensor:
    factor = 2 if rest[3] else 1
    shape = (u.shape[0], depthwise.shape[0], u.shape[2] * factor, u.shape[3] * factor)
    return torch.empty(shape, dtype=u.dtype, device=u.device, memory_format=torch.channels_last)


def _fake_backward(grad: torch.Tensor, u: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    style = rest[3]
    grad_u = torch.empty_like(u, memory_format=torch.channels_last)
    return grad_u, u.new_empty((0 if style is None else u.shape[0], u.shape[1]), dtype=accumulation_dtype(u))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.constants = inputs[5:]


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
    u, depthwise, noise, bias, style = ctx.saved_tensors
    _, needs_depthwise, needs_noise, needs_bias, needs_style, *_ = ctx.needs_input_grad
    grad_u, grad_style = torch.ops.deltafast.activated_depthwise_backward(
        grad, u, depthwise, noise, bias, style, *ctx.constants
    )  # like u, like style
    grad_depthwise = grad_noise = grad_bias = None
    accumulate = accumulation_dtype(u)
    if needs_bias:
        grad_bias = grad_u.sum((0, 2, 3), dtype=accumulate)  # [channels of u]
    if needs_noise:
        one_map = noise.shape[0] != u.shape[0]
        grad_noise = grad_u.sum((0, 1) if one_map else 1, keepdim=True, dtype=accumulate)  # [N or 1, 1, h, w]
    if needs_depthwise:  # rare: through torch's own convolution
        v = _modulated(u, noise, bias, style, *ctx.constants)  # [N, C, H, W]
        c = depthwise.shape[0]
        grad_depthwise = torch.ops.aten.convolution_backward(
            grad.to(accumulate), v.to(accumulate), depthwise, None,
            [1, 1], [1, 1], [1, 1], False, [0, 0], c, [False, True, False],
        )[1]  # [C, 1, 3, 3]  # fmt: skip
    return grad_u, grad_depthwise, grad_noise, grad_bias, grad_style if needs_style else None, None, None, None


register("activated_depthwise", fake=_fake, backward=_backward, setup_context=_setup_context)
register("activated_depthwise_backward", fake=_fake_backward, differentiable=False)
