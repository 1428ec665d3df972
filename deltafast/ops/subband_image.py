"""The image from its wavelet subbands: the end of MobileStyleGAN's image layer, behind cuDNN's convolution."""

from __future__ import annotations

from typing import Any

import torch

from deltafast.errors import InvalidInputError
from deltafast.ops._arguments import accumulation_dtype, check_image, check_optional
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register
from deltafast.ops.wavelet import inverse_haar

__all__ = ["subband_image", "subband_image_reference"]

_OP = "subband_image"


def subband_image(x: torch.Tensor, bias: torch.Tensor | None = None, *, impl: Impl = "auto") -> torch.Tensor:
    """Add the bias and merge four subbands into an image of twice the size, in one pass over memory.

    The native kernel is for CUDA alone; on CPUs impl="auto" takes the reference, and `wavelet_image` is the whole
    layer.

    Arguments, on one device and floating point:
      x: `[N, 4 K, H, W]`, one subband of K colours after another (see `inverse_haar`); float32, float64, float16 or
        bfloat16, any strides, best channels-last (everything else is copied).
      bias: `[4 K]`; None stands for 0.
      impl: "auto", "native" or "reference".

    Result: `[N, K, 2 H, 2 W]`, contiguous; float32 (float64 for float64), in which it is computed.

    Equivalent to: inverse_haar(x.float() + bias[:, None, None]).contiguous()

    Differentiable once in both tensors; differentiating the native gradient again raises `NativeOpError`
    (impl="reference" can be differentiated any number of times).
    Raises `InvalidInputError` for wrong shapes, dtypes or devices, and `NativeOpError` where impl="native" has no
    kernel. Source: MobileStyleGAN (arXiv 2104.04767), section 3.
    """
    check_image(_OP, x)
    if x.shape[1] % 4:
        raise InvalidInputError(f"{_OP}: x must be [N, 4 K, H, W], got {list(x.shape)}")
    check_optional(_OP, "bias", bias, x, (x.shape[1],), "[4 K]")
    if not runs_natively(_OP, x, impl, kernels=("cuda",)):
        return subband_image_reference(x, bias)
    accumulate = accumulation_dtype(x)
    result: torch.Tensor = torch.ops.deltafast.subband_image(x, None if bias is None else bias.to(accumulate))
    return result  # [N, K, 2 H, 2 W]


def subband_image_reference(x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Compute `subband_image` in plain torch: the same arguments and result. It checks nothing."""
    subbands = x.to(accumulation_dtype(x))
    if bias is not None:
        subbands = subbands + bias.to(subbands.dtype)[:, None, None]
    return inverse_haar(subbands).contiguous()  # [N, K, 2 H, 2 W]


def _fake(x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    n, subbands, h, w = x.shape
    return x.new_empty((n, subbands // 4, 2 * h, 2 * w), dtype=accumulation_dtype(x))


def _fake_backward(grad: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    n, k, h, w = grad.shape
    shape = (n, 4 * k, h // 2, w // 2)
    return torch.empty(shape, dtype=like.dtype, device=grad.device, memory_format=torch.channels_last)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.dtype = inputs[0].dtype


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    like = grad.new_empty(0, dtype=ctx.dtype)
    grad_x = torch.ops.deltafast.subband_image_backward(grad, like)  # [N, 4 K, H, W]
    if not ctx.needs_input_grad[1]:
        return grad_x, None
    unrounded = grad_x if ctx.dtype == grad.dtype else torch.ops.deltafast.subband_image_backward(grad, grad)
    return grad_x, unrounded.sum((0, 2, 3))  # [N, 4 K, H, W], [4 K]


register("subband_image", fake=_fake, backward=_backward, setup_context=_setup_context)
register("subband_image_backward", fake=_fake_backward, differentiable=False)
