"""MobileStyleGAN's image layer: a 1x1 convolution to the wavelet subbands of an image, and the image from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from deltafast.errors import InvalidInputError
from deltafast.ops._arguments import accumulation_dtype, check_image, check_optional, check_small
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register
from deltafast.ops.wavelet import inverse_haar, inverse_haar_transposed

__all__ = ["wavelet_image", "wavelet_image_reference"]

_OP = "wavelet_image"


def wavelet_image(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    style: torch.Tensor | None = None,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Turn activations into an image of twice their size, reading them once.

    The native kernel is for CPUs alone; on CUDA impl="auto" takes the reference, and a 1x1 convolution and
    `subband_image` are the same layer.

    Arguments, all on one device and floating point:
      x: `[N, C, H, W]`; float32, float64, float16 or bfloat16, any strides, best channels-last.
      weight: `[4 K, C, 1, 1]`, of x's dtype, one subband of K colours after another (see `inverse_haar`).
      bias: `[4 K]`; None stands for 0.
      style: `[N, C]`, the scales of x's channels; None stands for 1.
      impl: "auto", "native" or "reference".

    Result: `[N, K, 2 H, 2 W]`, contiguous; float32 (float64 for float64).

    Equivalent to:
        inverse_haar(F.conv2d(x * style[:, :, None, None], weight) + bias[:, None, None])

    Differentiable once in all tensor arguments; differentiating the native gradient again raises `NativeOpError`
    (impl="reference" can be differentiated any number of times).
    Raises `InvalidInputError` for wrong shapes, dtypes or devices, and `NativeOpError` where impl="native" has no
    kernel. Source: MobileStyleGAN (arXiv 2104.04767), section 3.
    """
    check_image(_OP, x)
    check_wavelet_image(_OP, x, x.shape, weight, bias, style)
    if not runs_natively(_OP, x, impl, kernels=("cpu",)):
        return wavelet_image_reference(x, weight, bias, style=style)
    accumulate = accumulation_dtype(x)
    result: torch.Tensor = torch.ops.deltafast.wavelet_image(
        x,
        weight.to(x.dtype),
        None if bias is None else bias.to(accumulate),
        None if style is None else style.to(accumulate),
    )
    return result  # [N, K, 2 H, 2 W]


def wavelet_image_reference(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    style: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute `wavelet_image` in plain torch: the same arguments and result, rounded between the steps."""
    accumulate = accumulation_dtype(x)
    if style is not None:
        x = (x * style.to(accumulate)[:, :, None, None]).to(x.dtype)  # [N, C, H, W]
    subbands = F.conv2d(x, weight.to(x.dtype)).to(accumulate)  # [N, 4 K, H, W]
    if bias is not None:
        subbands = subbands + bias.to(accumulate)[:, None, None]
    return inverse_haar(subbands).contiguous()  # [N, K, 2 H, 2 W]


def check_wavelet_image(
    op: str,
    x: torch.Tensor,
    size: Sequence[int],
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    style: torch.Tensor | None,
) -> None:
    """Raise `InvalidInputError`, naming `op`, unless an image layer fits an input of `size`, on the device of `x`."""
    n, c = size[:2]
    outputs = weight.shape[0] if isinstance(weight, torch.Tensor) and weight.dim() == 4 else 0
    check_small(op, "weight", weight, x, (outputs, c, 1, 1), "[4 K, C, 1, 1]")
    if outputs % 4:
        raise InvalidInputError(f"{op}: weight must be [4 K, C, 1, 1], got {list(weight.shape)}")
    check_optional(op, "bias", bias, x, (outputs,), "[4 K]")
    check_optional(op, "style", style, x, (n, c), "[N, C]")


def _fake(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, style: torch.Tensor | None) -> torch.Tensor:
    n, _, h, w = x.shape
    return x.new_empty((n, weight.shape[0] // 4, 2 * h, 2 * w), dtype=accumulation_dtype(x))


def _fake_backward(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, style: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    grad_x = torch.empty_like(x, memory_format=torch.channels_last)
    return grad_x, x.new_empty((0 if style is None else x.shape[0], x.shape[1]), dtype=accumulation_dtype(x))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, weight, _, style = inputs
    ctx.save_for_backward(x, weight, style)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
    x, weight, style = ctx.saved_tensors
    needs_x, needs_weight, needs_bias, needs_style = ctx.needs_input_grad
    grad_x = grad_weight = grad_bias = grad_style = None
    if needs_x or needs_style:
        grad_x, grad_style = torch.ops.deltafast.wavelet_image_backward(grad, x, weight, style)
    if needs_weight or needs_bias:
        subbands = inverse_haar_transposed(grad)  # [N, 4 K, H, W]
        grad_bias = subbands.sum((0, 2, 3))  # [4 K]
        scaled = x if style is None else x * style[:, :, None, None]  # [N, C, H, W]
        grad_weight = torch.einsum("nohw,nchw->oc", subbands, scaled.to(subbands.dtype))  # [4 K, C]
        grad_weight = grad_weight.to(weight.dtype)[:, :, None, None]
    return grad_x, grad_weight, grad_bias if needs_bias else None, grad_style if needs_style else None


register("wavelet_image", fake=_fake, backward=_backward, setup_context=_setup_context)
register("wavelet_image_backward", fake=_fake_backward, differentiable=False)
