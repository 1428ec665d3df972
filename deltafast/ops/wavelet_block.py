"""One resolution of MobileStyleGAN: up-sampling and two separable convolutions, and the image where it follows."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from deltafast.errors import InvalidInputError
from deltafast.ops._arguments import accumulation_dtype, check_image
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register
from deltafast.ops.separable_conv import check_separable_conv, separable_conv, separable_conv_reference
from deltafast.ops.wavelet_image import check_wavelet_image, wavelet_image, wavelet_image_reference

__all__ = ["ImageLayer", "SeparableLayer", "wavelet_block", "wavelet_block_reference"]

_OP = "wavelet_block"
_LARGE = 256  # rows from which on a block's gradient is bound by memory, and one kernel is faster
_DIFFERENTIABLE = (0, 5, 10, 13)  # x and the styles, among x and the tensors of the layers


class SeparableLayer(NamedTuple):
    """The tensors of one `separable_conv`, with the shapes that it says."""

    depthwise: torch.Tensor
    pointwise: torch.Tensor
    noise: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    style: torch.Tensor | None = None


class ImageLayer(NamedTuple):
    """The tensors of one `wavelet_image`, with the shapes that it says."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    style: torch.Tensor | None = None


def wavelet_block(
    x: torch.Tensor,
    first: SeparableLayer,
    second: SeparableLayer,
    image: ImageLayer | None = None,
    *,
    negative_slope: float = 0.2,
    gain: float = 1.0,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Run a block of MobileStyleGAN; of its activations only the input and the result meet memory.

    Arguments:
      x: `[N, 4 C, H, W]`, subbands; float32, float64, float16 or bfloat16, any strides, best channels-last.
      first: the layer that merges the subbands; its result is `[N, O, 2 H, 2 W]`.
      second: the layer that reads it; its result is `[N, O', 2 H, 2 W]`.
      image: the image layer that reads that, or None.
      negative_slope, gain: see `separable_conv`.
      impl: "auto", "native" or "reference".

    Result: what `second` gives, of x's dtype; with `image` the image `[N, K, 4 H, 4 W]`, float32 (float64 for
    float64).

    Equivalent to:
        y = separable_conv(x, *first[:4], style=first.style, wavelet=True)
        y = separable_conv(y, *second[:4], style=second.style)
        y = y if image is None else wavelet_image(y, image.weight, image.bias, style=image.style)

    The native kernel is for CPUs alone; on CUDA impl="auto" takes the reference. Where a gradient is wanted for other
    tensors than x and the styles, or for small maps, the native kernels of those very ops run instead; on large maps,
    one kernel makes the gradients of x and the styles of the whole block. With gradients, each layer's result is kept
    for them.
    Differentiable once; differentiating a native gradient again raises `NativeOpError`, as it says.
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has
    no kernel. Source: MobileStyleGAN (arXiv 2104.04767), section 3.
    """
    _check(x, first, second, image, negative_slope, gain)
    if not runs_natively(_OP, x, impl, kernels=("cpu",)):
        return wavelet_block_reference(x, first, second, image, negative_slope=negative_slope, gain=gain)
    tensors = (*first, *second, *(image or (None, None, None)))
    wanted = [torch.is_grad_enabled() and t is not None and t.requires_grad for t in (x, *tensors)]
    of_weights = any(needed for at, needed in enumerate(wanted) if at not in _DIFFERENTIABLE)
    if of_weights or (any(wanted) and 2 * x.shape[2] < _LARGE):  # layer by layer
        constants: dict[str, Any] = {"negative_slope": negative_slope, "gain": gain, "impl": impl}
        y = separable_conv(x, *first[:4], style=first.style, wavelet=True, **constants)  # [N, O, 2 H, 2 W]
        y = separable_conv(y, *second[:4], style=second.style, **constants)  # [N, O', 2 H, 2 W]
        return y if image is None else wavelet_image(y, image.weight, image.bias, style=image.style, impl=impl)
    dtype = accumulation_dtype(x)
    given = (x, *(None if t is None else t.to(dtype) for t in tensors), float(negative_slope), float(gain))
    result: torch.Tensor  # [N, O', 2 H, 2 W] or [N, K, 4 H, 4 W]
    if any(wanted):
        result, _, _ = torch.ops.deltafast.wavelet_block_stored(*given)
    else:
        result = torch.ops.deltafast.wavelet_block(*given)
    return result


def wavelet_block_reference(
    x: torch.Tensor,
    first: SeparableLayer,
    second: SeparableLayer,
    image: ImageLayer | None = None,
    *,
    negative_slope: float = 0.2,
    gain: float = 1.0,
) -> torch.Tensor:
    """Compute `wavelet_block` in plain torch: the same arguments and result, rounded between the steps."""
    constants: dict[str, Any] = {"negative_slope": negative_slope, "gain": gain}
    y = separable_conv_reference(x, *first[:4], style=first.style, wavelet=True, **constants)  # [N, O, 2 H, 2 W]
    y = separable_conv_reference(y, *second[:4], style=second.style, **constants)  # [N, O', 2 H, 2 W]
    return y if image is None else wavelet_image_reference(y, image.weight, image.bias, style=image.style)


def _check(
    x: torch.Tensor,
    first: SeparableLayer,
    second: SeparableLayer,
    image: ImageLayer | None,
    negative_slope: float,
    gain: float,
) -> None:
    check_image(_OP, x)
    for name, layer in (("first", first), ("second", second)):
        if not isinstance(layer, SeparableLayer):
            raise InvalidInputError(f"{_OP}: {name} must be a SeparableLayer, got {type(layer).__name__}")
    check_separable_conv(f"{_OP}, first", x, x.shape, *first, True, negative_slope, gain)
    n, _, h, w = x.shape
    size = (n, first.pointwise.shape[0], 2 * h, 2 * w)
    check_separable_conv(f"{_OP}, second", x, size, *second, False, negative_slope, gain)
    if image is not None:
        if not isinstance(image, ImageLayer):
            raise InvalidInputError(f"{_OP}: image must be an ImageLayer or None, got {type(image).__name__}")
        check_wavelet_image(f"{_OP}, image", x, (n, second.pointwise.shape[0], 2 * h, 2 * w), *image)


def _fake(x: torch.Tensor, *rest: Any) -> torch.Tensor:
    pointwise, weight = rest[6], rest[10]  # of the second layer and of the image layer
    n, _, h, w = x.shape
    if weight is not None:
        return x.new_empty((n, weight.shape[0] // 4, 4 * h, 4 * w), dtype=accumulation_dtype(x))
    shape = (n, pointwise.shape[0], 2 * h, 2 * w)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _fake_stored(x: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    result = _fake(x, *rest)
    n, _, h, w = x.shape
    kept = [
        torch.empty((n, pointwise.shape[0], 2 * h, 2 * w), dtype=x.dtype, device=x.device).contiguous(
            memory_format=torch.channels_last
        )
        for pointwise in (rest[1], rest[6])
    ]
    return result, kept[0], kept[1] if rest[10] is not None else x.new_empty(0)


def _fake_backward(grad: torch.Tensor, x: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
    pointwise0, style0, pointwise1, style1, image_style = rest[3], rest[4], rest[6], rest[7], rest[9]
    widths = (x.shape[1], pointwise0.shape[0], pointwise1.shape[0])
    styles = zip((style0, style1, image_style), widths, strict=True)
    gradients = [x.new_empty((0 if style is None else x.shape[0], width)) for style, width in styles]
    return (torch.empty_like(x, memory_format=torch.channels_last), *gradients)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    x, depthwise0, pointwise0, _, _, style0, depthwise1, pointwise1, _, _, style1, weight, _, style2, *constants = (
        inputs
    )
    result, first, second = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(first, second)
    ctx.constants = constants
    ctx.save_for_backward(
        x,
        first,
        result if weight is None else second,
        depthwise0,
        pointwise0,
        style0,
        depthwise1,
        pointwise1,
        style1,
        weight,
        style2,
    )


def _backward(ctx: Any, grad: torch.Tensor | None, *_: Any) -> tuple[Any, ...]:
    gradients: list[torch.Tensor | None] = [None] * 16
    if grad is not None:
        made = torch.ops.deltafast.wavelet_block_backward(grad, *ctx.saved_tensors, *ctx.constants)
        for at, gradient in zip(_DIFFERENTIABLE, made, strict=True):
            gradients[at] = gradient if ctx.needs_input_grad[at] else None
    return tuple(gradients)


register("wavelet_block", fake=_fake, differentiable=False, instead="Call deltafast.ops.wavelet_block, which has one.")
register("wavelet_block_stored", fake=_fake_stored, backward=_backward, setup_context=_setup_context)
register("wavelet_block_backward", fake=_fake_backward, differentiable=False)
