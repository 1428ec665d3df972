"""The end of a StyleGAN2 block in one pass: the last convolution's epilogue, and its result as an image."""

from __future__ import annotations

import math
from typing import Any

import torch

from deltafast.errors import NativeOpError
from deltafast.ops._arguments import accumulation_dtype, check_image
from deltafast.ops._epilogue import Epilogue
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register
from deltafast.ops.modulated_epilogue import modulated_epilogue
from deltafast.ops.to_rgb import (
    MAX_COLOURS,
    SKIP_GAIN,
    add_skip,
    check_to_rgb,
    filter_fits,
    modulated_weight,
    to_rgb,
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

    The native kernel reads x once and writes the activations once; the image is made of them before they are rounded.
    It is for CUDA alone, has no gradient, and takes at most 2048 channels (1117 for K above 3) and K up to 8. Where it
    cannot run, impl="auto" runs `modulated_epilogue` and `to_rgb` as above (natively, where they can), which are
    differentiable.
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has
    no kernel. Source: StyleGAN2 (arXiv 1912.04958), section 4.1.
    """
    check_image(_OP, x)
    epilogue = Epilogue(demod, noise, noise_strength, bias, next_style, negative_slope, gain, clamp)
    epilogue.check(_OP, x, (x.shape[2], x.shape[3]))
    check_to_rgb(_OP, x, rgb_weight, rgb_style, rgb_bias, rgb_clamp, skip, f, prefix="rgb_")
    native = runs_natively(_OP, x, impl, kernels=("cuda",))
    if native:
        tensors = (x, *epilogue.tensors, rgb_weight, rgb_style, rgb_bias, skip)
        wants_gradient = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
        native = _serves(rgb_weight, wants_gradient, impl)
    if not native:
        plain = Epilogue(demod, noise, noise_strength, bias, None, negative_slope, gain, clamp)
        y = modulated_epilogue(x, **plain.named, impl=impl)
        image = to_rgb(y, rgb_weight, rgb_style, rgb_bias, clamp=rgb_clamp, skip=skip, f=f, impl=impl)
        return (_styled(y, next_style) if keep else None), image
    accumulate = accumulation_dtype(x)
    fits = skip is not None and filter_fits(f)
    activations, image = torch.ops.deltafast.epilogue_to_rgb(
        x.contiguous(memory_format=torch.channels_last),
        *epilogue.for_kernel(x),
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


def epilogue_to_rgb_reference(
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
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Compute `epilogue_to_rgb` in plain torch: the same arguments but `impl`, the same results and errors."""
    return epilogue_to_rgb(
        x,
        demod,
        noise,
        noise_strength,
        bias,
        rgb_weight=rgb_weight,
        rgb_style=rgb_style,
        rgb_bias=rgb_bias,
        rgb_clamp=rgb_clamp,
        skip=skip,
        f=f,
        next_style=next_style,
        keep=keep,
        negative_slope=negative_slope,
        gain=gain,
        clamp=clamp,
        impl="reference",
    )


def _serves(rgb_weight: torch.Tensor, wants_gradient: bool, impl: Impl) -> bool:
    """Return whether the kernel can run; raise `NativeOpError` where it is asked for and cannot."""
    colours, channels = rgb_weight.shape[:2]
    # A sample's coefficients lie in the shared memory of a block (epilogue_to_rgb.cu): floats of a channel are its
    # image channels and the epilogue's three.
    floats = (3 if colours <= 3 else MAX_COLOURS) + 3
    if wants_gradient:
        why_not = "the native kernel has no gradient"
    elif colours > MAX_COLOURS:
        why_not = f"the native kernel makes at most {MAX_COLOURS} image channels, asked for {colours}"
    elif 4 * floats * channels > _SHARED_MEMORY:
        why_not = f"the native kernel takes at most {_SHARED_MEMORY // (4 * floats)} channels, got {channels}"
    else:
        return True
    if impl == "native":
        raise NativeOpError(f"{_OP}: {why_not}. Use impl='auto', which runs modulated_epilogue and to_rgb.")
    return False


def _styled(y: torch.Tensor, next_style: torch.Tensor | None) -> torch.Tensor:
    return y if next_style is None else y * next_style.to(y.dtype)[:, :, None, None]  # [N, C, H, W]


def _fake(x: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    weight, keep = rest[8], rest[-1]
    y = torch.empty_like(x, memory_format=torch.channels_last) if keep else x.new_empty(0)
    shape = (x.shape[0], weight.shape[1], x.shape[2], x.shape[3])
    return y, x.new_empty(shape, dtype=accumulation_dtype(x))


register(
    "epilogue_to_rgb",
    fake=_fake,
    differentiable=False,
    instead="Call deltafast.ops.epilogue_to_rgb, which takes modulated_epilogue and to_rgb where one is needed.",
)
