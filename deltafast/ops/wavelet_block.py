"""One resolution of MobileStyleGAN: up-sampling and two separable convolutions, and the image where it follows."""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

import torch

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops._arguments import accumulation_dtype, check_image
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops.separable_conv import check_separable_conv, separable_conv, separable_conv_reference
from deltafast.ops.wavelet_image import check_wavelet_image, wavelet_image, wavelet_image_reference

__all__ = ["ImageLayer", "SeparableLayer", "wavelet_block", "wavelet_block_reference"]

_OP = "wavelet_block"


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

    Those very ops run where a gradient is wanted (they keep their results for it), and on CUDA.
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has
    no kernel. Source: MobileStyleGAN (arXiv 2104.04767), section 3.
    """
    _check(x, first, second, image, negative_slope, gain)
    tensors = (*first, *second, *(image or (None, None, None)))
    if impl == "reference":
        return wavelet_block_reference(x, first, second, image, negative_slope=negative_slope, gain=gain)
    wants_gradient = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *tensors))
    if wants_gradient or x.device.type == "cuda" or not runs_natively(_OP, x, impl):
        constants: dict[str, Any] = {"negative_slope": negative_slope, "gain": gain, "impl": impl}
        y = separable_conv(x, *first[:4], style=first.style, wavelet=True, **constants)  # [N, O, 2 H, 2 W]
        y = separable_conv(y, *second[:4], style=second.style, **constants)  # [N, O', 2 H, 2 W]
        return y if image is None else wavelet_image(y, image.weight, image.bias, style=image.style, impl=impl)
    dtype = accumulation_dtype(x)
    result: torch.Tensor = torch.ops.deltafast.wavelet_block(
        x, *(None if t is None else t.to(dtype) for t in tensors), float(negative_slope), float(gain)
    )
    return result  # [N, O', 2 H, 2 W] or [N, K, 4 H, 4 W]


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


def _refuse_gradients(ctx: Any, *_: Any) -> NoReturn:
    raise NativeOpError(f"{_OP}: the native kernel has no gradient. Call deltafast.ops.wavelet_block, which has one.")


torch.library.register_fake("deltafast::wavelet_block", _fake)
torch.library.register_autograd("deltafast::wavelet_block", _refuse_gradients)
