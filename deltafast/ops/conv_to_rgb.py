"""The last convolution of a StyleGAN2 block with everything that follows it, the image included."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from deltafast.errors import InvalidInputError
from deltafast.ops._arguments import accumulation_dtype, check_image
from deltafast.ops._epilogue import Epilogue
from deltafast.ops._library import runs_natively
from deltafast.ops._register import register
from deltafast.ops.conv_path import ConvImpl, ConvPath, chosen_path, other_impl
from deltafast.ops.epilogue_to_rgb import epilogue_to_rgb
from deltafast.ops.implicit_conv import convolve, tile_size
from deltafast.ops.to_rgb import SKIP_GAIN, check_to_rgb, filter_fits, modulated_weight

__all__ = ["conv_to_rgb", "conv_to_rgb_reference"]

_OP = "conv_to_rgb"
_MAX_COLOURS = 3  # kConvColours in csrc/kernels/implicit_conv.h


def conv_to_rgb(
    x: torch.Tensor,
    weight: torch.Tensor,
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
    impl: ConvImpl = "auto",
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Convolve a block's last 3x3 layer, finish it, convert it to an image, and give it the next block's style.

    Arguments:
      x: `[N, C, H, W]`, its style multiplied in; float32, float64, float16 or bfloat16; brought to channels-last.
      weight: `[O, C, 3, 3]`, of x's dtype, shared by all samples.
      demod, noise, noise_strength, bias, rgb_weight, rgb_style, rgb_bias, rgb_clamp, skip, f, next_style, keep,
        negative_slope, gain, clamp: as in `epilogue_to_rgb`, for `[N, O, H, W]`.
      impl: "auto", "native" or "reference"; "cudnn", "mma" or "wgmma" rule other convolutions out, as in
        `modulated_conv2d`.

    Result: the activations `[N, O, H, W]` of x's dtype, None without `keep`; the image `[N, K, H, W]`, as `to_rgb`'s.

    Equivalent to:
        epilogue_to_rgb(F.conv2d(x, weight, padding=1), demod, noise, noise_strength, bias, ...)

    On CUDA, where `chosen_path` says "mma" or "wgmma", nothing needs a gradient, O is at most 64 (128 with "wgmma") and
    K at most 3, all of it is one kernel: x is read once, the activations are written once. Differentiable otherwise, as
    `epilogue_to_rgb` is.
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native",
    "mma" or "wgmma" has no kernel. Source: StyleGAN2 (arXiv 1912.04958), sections 2.2 and 4.1.
    """
    _check(x, weight, rgb_weight, rgb_style, rgb_bias, rgb_clamp, skip, f)
    epilogue = Epilogue(demod, noise, noise_strength, bias, next_style, negative_slope, gain, clamp)
    epilogue.check(_OP, x, (x.shape[2], x.shape[3]), channels=weight.shape[0])
    x = x.contiguous(memory_format=torch.channels_last)
    others = other_impl(impl)
    rgb: dict[str, Any] = {"rgb_weight": rgb_weight, "rgb_style": rgb_style, "rgb_bias": rgb_bias}
    rgb |= {"rgb_clamp": rgb_clamp, "skip": skip, "f": f, "keep": keep}
    path = chosen_path(_OP, x, weight, impl)
    if not runs_natively(_OP, x, others) or path == "cudnn":
        return epilogue_to_rgb(F.conv2d(x, weight, padding=1), **epilogue.named, **rgb, impl=others)
    tensors = (x, weight, *epilogue.tensors, rgb_weight, rgb_style, rgb_bias, skip)
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    if wanted or not _fits(path, weight, rgb_weight, skip, f):
        return epilogue_to_rgb(convolve(x, weight, "plain", path), **epilogue.named, **rgb, impl=others)
    accumulate = accumulation_dtype(x)
    activations, image = torch.ops.deltafast.implicit_conv_to_rgb(
        x,
        weight,
        path == "wgmma",
        *epilogue.for_kernel(x),
        modulated_weight(rgb_weight, rgb_style, accumulate),
        None if rgb_bias is None else rgb_bias.to(accumulate),
        None if rgb_clamp is None else float(rgb_clamp),
        None if skip is None else skip.to(accumulate),
        f,
        SKIP_GAIN,
        keep,
    )  # [N, O, H, W], [N, K, H, W]
    return (activations if keep else None), image


def conv_to_rgb_reference(*args: Any, **options: Any) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Compute `conv_to_rgb` in plain torch: the same arguments but `impl`, and the same results."""
    return conv_to_rgb(*args, **options, impl="reference")


def _fits(
    path: ConvPath,
    weight: torch.Tensor,
    rgb_weight: torch.Tensor,
    skip: torch.Tensor | None,
    f: torch.Tensor | None,
) -> bool:
    """Whether one tile holds all channels, so that its kernel makes the image."""
    outputs = weight.shape[0]
    return (
        outputs <= tile_size("plain", outputs, path)[1]
        and rgb_weight.shape[0] <= _MAX_COLOURS
        and (skip is None or filter_fits(f))
    )


def _check(
    x: torch.Tensor,
    weight: torch.Tensor,
    rgb_weight: torch.Tensor,
    rgb_style: torch.Tensor,
    rgb_bias: torch.Tensor | None,
    rgb_clamp: float | None,
    skip: torch.Tensor | None,
    f: torch.Tensor | None,
) -> None:
    check_image(_OP, x)
    shape = tuple(weight.shape) if isinstance(weight, torch.Tensor) else ()
    if len(shape) != 4 or shape[1:] != (x.shape[1], 3, 3) or 0 in shape:
        got = list(shape) if isinstance(weight, torch.Tensor) else type(weight).__name__
        raise InvalidInputError(f"{_OP}: weight must be [O, C, 3, 3] with C = {x.shape[1]}, got {got}")
    if weight.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise InvalidInputError(f"{_OP}: weight must be of x's dtype, {x.dtype}, got {weight.dtype}")
    if weight.device != x.device:
        raise InvalidInputError(f"{_OP}: weight is on {weight.device}, but x is on {x.device}")
    result = x.new_empty(1).expand(x.shape[0], shape[0], *x.shape[2:])  # [N, O, H, W], of which the image is made
    check_to_rgb(_OP, result, rgb_weight, rgb_style, rgb_bias, rgb_clamp, skip, f, prefix="rgb_")


def _fake(x: torch.Tensor, weight: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
    rgb_weight, keep = rest[9], rest[-1]
    shape = (x.shape[0], weight.shape[0], x.shape[2], x.shape[3])
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    image = x.new_empty((x.shape[0], rgb_weight.shape[1], *x.shape[2:]), dtype=torch.float32)
    return (y if keep else x.new_empty(0)), image


register(
    "implicit_conv_to_rgb",
    fake=_fake,
    differentiable=False,
    instead="Call conv_to_rgb, which takes kernels that have one where it is needed.",
)
