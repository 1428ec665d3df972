"""From activations to an image in one pass: modulated 1x1 convolution, bias, clamp, up-sampled skip image."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops._arguments import accumulation_dtype, check_image, check_optional, check_small
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register
from deltafast.ops.upfirdn2d import upfirdn2d

__all__ = ["to_rgb", "to_rgb_reference"]

_OP = "to_rgb"
MAX_COLOURS, _MAX_TAPS = 8, 16  # kMaxImageChannels, kMaxSkipTaps in csrc/kernels/to_rgb.h
SKIP_GAIN = 4.0  # what up-sampling by 2 along both axes takes


def to_rgb(
    x: torch.Tensor,
    weight: torch.Tensor,
    style: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    clamp: float | None = None,
    skip: torch.Tensor | None = None,
    f: torch.Tensor | None = None,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Convert activations to image channels under a style, without demodulation, and add the up-sampled skip image.

    Arguments:
      x: `[N, C, H, W]`; float32, float64, float16 or bfloat16; brought to channels-last where it is not.
      weight: `[K, C, 1, 1]`, K image channels; the native kernel takes up to 8.
      style: `[N, C]`.
      bias: `[K]`; None stands for 0.
      clamp: the converted image is limited to [-clamp, clamp]; positive, or None for no limit.
      skip: `[N, K, H / 2, W / 2]`, the image of the block before, which is up-sampled by 2 and added; H and W even.
      f: float32 `[k]` or `[kh, kw]`, the up-sampling filter, as `setup_filter` makes it; where there is a skip. With
        `[kh, kw]`, or more than 16 taps, the skip image goes through `upfirdn2d`.
      impl: "auto", "native" or "reference".

    Result: `[N, K, H, W]`, contiguous, float32 (float64 for float64), accumulated in that type; x is read once.

    Equivalent to (f of 4 taps):
        y = F.conv2d(x * style[:, :, None, None], weight) + bias[:, None, None]
        y.clamp(-clamp, clamp) + upfirdn2d(skip, f, up=2, padding=(2, 1), gain=4.0)

    Differentiable any number of times in x, weight, style, bias and skip.
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has
    no kernel. Source: StyleGAN2 (arXiv 1912.04958), section 4.1.
    """
    check_to_rgb(_OP, x, weight, style, bias, clamp, skip, f)
    if not _runs_natively(x, weight, impl):
        return to_rgb_reference(x, weight, style, bias, clamp=clamp, skip=skip, f=f)
    accumulate = accumulation_dtype(x)
    fits = skip is not None and filter_fits(f)
    image: torch.Tensor = torch.ops.deltafast.to_rgb(
        x.contiguous(memory_format=torch.channels_last),
        modulated_weight(weight, style, accumulate),
        None if bias is None else bias.to(accumulate),
        None if clamp is None else float(clamp),
        skip.to(accumulate) if skip is not None and fits else None,
        f if fits else None,
        SKIP_GAIN,
    )  # [N, K, H, W]
    if skip is None or fits:
        return image
    assert f is not None
    return add_skip(image, skip, f, impl)


def to_rgb_reference(
    x: torch.Tensor,
    weight: torch.Tensor,
    style: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    clamp: float | None = None,
    skip: torch.Tensor | None = None,
    f: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute `to_rgb` in plain torch: the same arguments and result. Raises what torch raises."""
    accumulate = accumulation_dtype(x)
    y = F.conv2d(x * style.to(x.dtype)[:, :, None, None], weight.to(x.dtype)).to(accumulate)  # [N, K, H, W]
    if bias is not None:
        y = y + bias.to(accumulate)[:, None, None]
    if clamp is not None:
        y = y.clamp(-clamp, clamp)
    if skip is not None:
        assert f is not None
        y = add_skip(y, skip, f, "reference")
    return y.contiguous()


def modulated_weight(weight: torch.Tensor, style: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the samples' own weights `[N, K, C]` in `dtype`, of `weight` `[K, C, 1, 1]` and `style` `[N, C]`."""
    return weight.flatten(1).to(dtype)[None] * style.to(dtype)[:, None]


def filter_fits(f: torch.Tensor | None) -> bool:
    """Return whether the kernel up-samples by the filter `f` itself."""
    return f is not None and f.dim() == 1 and f.numel() <= _MAX_TAPS


def add_skip(image: torch.Tensor, skip: torch.Tensor, f: torch.Tensor, impl: Impl) -> torch.Tensor:
    """Return `image` `[N, K, H, W]` with `skip` `[N, K, H / 2, W / 2]`, up-sampled by `f`, added."""
    skip = skip.to(image.dtype).contiguous()
    return image + upfirdn2d(skip, f, up=2, padding=_padding(f), gain=SKIP_GAIN, impl=impl)


def _padding(f: torch.Tensor) -> tuple[int, int, int, int]:
    """How the zero-stuffed skip image is padded to be twice its size after the filter."""
    height, width = f.shape[0], f.shape[-1]
    return (width + 1) // 2, (width - 2) // 2, (height + 1) // 2, (height - 2) // 2


def _runs_natively(x: torch.Tensor, weight: torch.Tensor, impl: Impl) -> bool:
    native = runs_natively(_OP, x, impl)
    if native and weight.shape[0] > MAX_COLOURS:
        if impl == "native":
            raise NativeOpError(
                f"{_OP}: the native kernel makes at most {MAX_COLOURS} image channels, asked for {weight.shape[0]}. "
                "Use impl='auto' or impl='reference'."
            )
        return False
    return native


def check_to_rgb(
    op: str,
    x: torch.Tensor,
    weight: torch.Tensor,
    style: torch.Tensor,
    bias: torch.Tensor | None,
    clamp: float | None,
    skip: torch.Tensor | None,
    f: torch.Tensor | None,
    prefix: str = "",
) -> None:
    """Raise `InvalidInputError`, naming `op`, unless these are the arguments of a conversion of `x`.

    `prefix`: what the names of weight, style, bias and clamp begin with.
    """
    check_image(op, x)
    n, c, h, w = x.shape
    colours = weight.shape[0] if isinstance(weight, torch.Tensor) and weight.dim() == 4 else 0
    check_small(op, f"{prefix}weight", weight, x, (colours, c, 1, 1), "[K, C, 1, 1]")
    if colours < 1:
        raise InvalidInputError(f"{op}: {prefix}weight must have at least one image channel, got {list(weight.shape)}")
    check_small(op, f"{prefix}style", style, x, (n, c), "[N, C]")
    check_optional(op, f"{prefix}bias", bias, x, (colours,), "[K]")
    if clamp is not None and not clamp > 0.0:
        raise InvalidInputError(f"{op}: {prefix}clamp must be positive or None, got {clamp}")
    if (skip is None) != (f is None):
        raise InvalidInputError(f"{op}: skip and its filter f belong together, got only one of them")
    if skip is None or f is None:
        return
    if h % 2 or w % 2:
        raise InvalidInputError(f"{op}: with a skip image, H and W must be even, got {h} x {w}")
    check_small(op, "skip", skip, x, (n, colours, h // 2, w // 2), "[N, K, H / 2, W / 2]")
    if not isinstance(f, torch.Tensor) or f.dim() not in (1, 2) or f.dtype != torch.float32 or min(f.shape) < 2:
        got = f"{f.dtype} {list(f.shape)}" if isinstance(f, torch.Tensor) else type(f).__name__
        raise InvalidInputError(
            f"{op}: f must be float32 [k] or [kh, kw], at least 2 taps (see setup_filter), got {got}"
        )
    if f.device != x.device:
        raise InvalidInputError(f"{op}: f is on {f.device}, but x is on {x.device}")
    if f.requires_grad:
        raise InvalidInputError(f"{op}: f is a constant and must not require a gradient; pass f.detach()")


def _fake(x: torch.Tensor, weight: torch.Tensor, *_: Any) -> torch.Tensor:
    shape = (x.shape[0], weight.shape[1], x.shape[2], x.shape[3])
    return x.new_empty(shape, dtype=accumulation_dtype(x))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, weight, bias, ctx.clamp, _, f, ctx.gain = inputs
    ctx.save_for_backward(x, weight, bias, f)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
    x, weight, bias, f = ctx.saved_tensors  # [N, C, H, W], [N, K, C], [K], [k]
    needs_x, needs_weight, needs_bias, _, needs_skip, *_ = ctx.needs_input_grad
    grad_x = grad_weight = grad_bias = grad_skip = None
    if needs_skip:
        before = (f.shape[0] + 1) // 2  # see upfirdn2d's own gradient
        near, far = f.shape[0] - 1 - before, before - 1
        grad_skip = torch.ops.deltafast.upfirdn2d(
            grad.contiguous(), f, 1, 2, near, far, near, far, True, ctx.gain
        )  # [N, K, H / 2, W / 2]
    if ctx.clamp is not None:  # computed anew, not stored
        free = torch.ops.deltafast.to_rgb(x, weight, bias, None, None, None, ctx.gain)  # [N, K, H, W]
        grad = grad * (free.detach().abs() <= ctx.clamp)
    rows = grad.permute(0, 2, 1, 3).to(x.dtype)  # [N, H, K, W]
    if needs_x:
        grad_x = (rows.transpose(2, 3) @ weight[:, None].to(x.dtype)).permute(0, 3, 1, 2)  # [N, C, H, W]
    if needs_weight:  # rows in x's dtype, their sum in full precision
        grad_weight = (rows @ x.permute(0, 2, 3, 1)).to(weight.dtype).sum(1)  # [N, K, C]
    if needs_bias:
        grad_bias = grad.sum((0, 2, 3))  # [K]
    return grad_x, grad_weight, grad_bias, None, grad_skip, None, None


register("to_rgb", fake=_fake, backward=_backward, setup_context=_setup_context)
