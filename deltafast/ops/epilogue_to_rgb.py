"""The end of a StyleGAN2 block in one pass: the last convolution's epilogue, and its result as an image."""

from __future__ import annotations

import math
from typing import Any, NoReturn

import torch

from deltafast.errors import NativeOpError
from deltafast.ops._arguments import accumulation_dtype, check_image
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops.devices import takes_cuda_kernels
from deltafast.ops.modulated_epilogue import (
    check_epilogue,
    in_accumulation_dtype,
    modulated_epilogue,
    modulated_epilogue_reference,
)
from deltafast.ops.to_rgb import (
    MOST_COLOURS,
    SKIP_GAIN,
    add_skip,
    check_to_rgb,
    filter_fits,
    modulated_weight,
    to_rgb,
    to_rgb_reference,
)

__all__ = ["epilogue_to_rgb", "epilogue_to_rgb_reference"]

_OP = "epilogue_to_rgb"
_SHARED_MEMORY = 48 * 1024  # bytes of a block


def epilogue_to_rgb(
    x: torch.Tensor,
    demod: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    noise_strength: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    rgb_weight: torch.Tensor,
    rgb_style: torch.Tensor,
    rgb_bias: torch.Tensor | None = None,
    rgb_clamp: float | None = None,
    skip: torch.Tensor | None = None,
    f: torch.Tensor | None = None,
    next_style: torch.Tensor | None = None,
    keep: bool = True,
    negative_slope: float = 0.2,
    gain: float = math.sqrt(2.0),
    clamp: float | None = None,
    impl: Impl = "auto",
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Finish a block's last convolution, convert the result to an image, and give it the next block's style.

    Arguments:
      x: `[N, C, H, W]`, the convolution's result; float32, float64, float16 or bfloat16; brought to channels-last where
        it is not.
      demod, noise, noise_strength, bias, negative_slope, gain, clamp: as in `modulated_epilogue`.
      rgb_weight `[K, C, 1, 1]`, rgb_style `[N, C]`, rgb_bias `[K]`, rgb_clamp, skip, f: `weight`, `style`, `bias`,
        `clamp`, `skip` and `f` of `to_rgb`.
      next_style: `[N, C]`, the scales of the convolution that reads the activations next; the image is made of them
        without it. None stands for 1.
      keep: whether the activations are wanted; behind the last block nothing reads them.
      impl: "auto", "native" or "reference".

    Result: the activations `[N, C, H, W]` of x's dtype, None without `keep`; the image `[N, K, H, W]`, as `to_rgb`'s.

    Equivalent to:
        y = modulated_epilogue(x, demod, noise, noise_strength, bias, clamp=clamp, ...)
        image = to_rgb(y, rgb_weight, rgb_style, rgb_bias, clamp=rgb_clamp, skip=skip, f=f)
        y * next_style[:, :, None, None], image

    On CUDA, where nothing needs a gradient and C is at most 2048 (1117 for K above 3), one kernel reads x once and
    writes the activations once; the image is made of them before they are rounded. Elsewhere the ops above run one by
    one: they are differentiable.
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has
    no kernel. Source: StyleGAN2 (arXiv 1912.04958), section 4.1.
    """
    check_image(_OP, x)
    epilogue = (demod, noise, noise_strength, bias)
    check_epilogue(_OP, x, (x.shape[2], x.shape[3]), *epilogue, next_style, negative_slope, gain, clamp)
    check_to_rgb(_OP, x, rgb_weight, rgb_style, rgb_bias, rgb_clamp, skip, f, prefix="rgb_")
    constants: dict[str, Any] = {"negative_slope": negative_slope, "gain": gain, "clamp": clamp}
    rgb: dict[str, Any] = {"bias": rgb_bias, "clamp": rgb_clamp, "skip": skip, "f": f}
    native = runs_natively(_OP, x, impl)
    if not native:
        y = modulated_epilogue_reference(x, *epilogue, **constants)
        image = to_rgb_reference(y, rgb_weight, rgb_style, **rgb)
        return (_styled(y, next_style) if keep else None), image
    tensors = (x, *epilogue, rgb_weight, rgb_style, rgb_bias, skip, next_style)
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    if wanted or not takes_cuda_kernels(x) or not _fits(rgb_weight):
        y = modulated_epilogue(x, *epilogue, **constants, impl=impl)
        image = to_rgb(y, rgb_weight, rgb_style, **rgb, impl=impl)
        return (_styled(y, next_style) if keep else None), image
    accumulate = accumulation_dtype(x)
    fits = skip is not None and filter_fits(f)
    activations, image = torch.ops.deltafast.epilogue_to_rgb(
        x.contiguous(memory_format=torch.channels_last),
        *in_accumulation_dtype(x, *epilogue, next_style),
        float(negative_slope),
        float(gain),
        None if clamp is None else float(clamp),
        modulated_weight(rgb_weight, rgb_style, accumulate),
        None if rgb_bias is None else rgb_bias.to(accumulate),
        None if rgb_clamp is None else float(rgb_clamp),
        skip.to(accumulate) if skip is not None and fits else None,
        f if fits else None,
        SKIP_GAIN,
        keep,
    )  # [N, C, H, W], [N, K, H, W]
    if skip is not None and not fits:
        assert f is not None
        image = add_skip(image, skip, f, impl)
    return (activations if keep else None), image


def epilogue_to_rgb_reference(*args: Any, **options: Any) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Compute `epilogue_to_rgb` in plain torch: the same arguments but `impl`, and the same results."""
    return epilogue_to_rgb(*args, **options, impl="reference")


def _fits(rgb_weight: torch.Tensor) -> bool:
    """Return whether a sample's coefficients fit the shared memory of a block; see epilogue_to_rgb.cu."""
    colours, channels = rgb_weight.shape[:2]
    if colours > MOST_COLOURS:
        return False
    kept = (3 if colours <= 3 else MOST_COLOURS) + 3  # floats of a channel: image channels, and the epilogue's three
    return 4 * kept * channels <= _SHARED_MEMORY


def _styled(y: torch.Tensor, next_style: torch.Tensor | None) -> torch.Tensor:
    return y if next_style is None else y * next_style.to(y.dtype)[:, :, None, None]  # [N, C, H, W]


def _fake(x: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    weight, keep = rest[8], rest[-1]
    y = torch.empty_like(x, memory_format=torch.channels_last) if keep else x.new_empty(0)
    shape = (x.shape[0], weight.shape[1], x.shape[2], x.shape[3])
    return y, x.new_empty(shape, dtype=accumulation_dtype(x))


def _refuse_gradient(ctx: Any, *_: Any) -> NoReturn:
    raise NativeOpError(
        "epilogue_to_rgb: the fused kernel has no gradient. Call deltafast.ops.epilogue_to_rgb, which takes "
        "modulated_epilogue and to_rgb where one is needed."
    )


torch.library.register_fake("deltafast::epilogue_to_rgb", _fake)
torch.library.register_autograd("deltafast::epilogue_to_rgb", _refuse_gradient)
