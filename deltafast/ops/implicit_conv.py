"""The convolution on tensor cores as an implicit matrix product: every form of it, alone or with its epilogue."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch.nn.grad import conv2d_weight

from deltafast.errors import InvalidInputError
from deltafast.ops._arguments import check_image
from deltafast.ops._epilogue import Epilogue
from deltafast.ops._library import runs_natively
from deltafast.ops._register import register
from deltafast.ops.conv_path import ConvImpl, ConvPath, chosen_path, other_impl

__all__ = [
    "ConvForm",
    "convolve",
    "convolve_activated",
    "form_of",
    "implicit_conv",
    "implicit_conv_reference",
    "tile_size",
]

ConvForm = Literal["plain", "pointwise", "up", "down"]

_OP = "implicit_conv"
# ConvForm in csrc/kernels/implicit_conv.h
_NUMBERS: dict[str, int] = {"plain": 0, "pointwise": 1, "up": 2, "down": 3}
_FILTERED = 4
# The form that makes a form's data gradient, with its weights turned.
_BACK: dict[str, ConvForm] = {"plain": "plain", "pointwise": "pointwise", "up": "down", "down": "up"}
_STRIDE = 2


def implicit_conv(
    x: torch.Tensor, weight: torch.Tensor, *, form: ConvForm = "plain", impl: ConvImpl = "auto"
) -> torch.Tensor:
    """Convolve by one of StyleGAN2's forms, with sums in float32.

    Arguments:
      x: `[N, C, H, W]`; float32, float64, float16 or bfloat16; brought to channels-last where it is not.
      weight: `[O, C, 3, 3]`, `[O, C, 1, 1]` for the form "pointwise", of x's dtype. The kernel reads it as a
        channels-last tensor lies in memory, and copies another first.
      form: "plain" (H' = H), "pointwise" (H' = H), "up" (H' = 2 H + 1) or "down" (H' = (H - 1) / 2; H and W odd).
      impl: as in `modulated_conv2d`; the kernels are those of "mma" and "wgmma".

    Result: `[N, O, H', W']` of x's dtype, channels-last.

    Equivalent to
        F.conv2d(x, weight, padding=1)                                "plain"
        F.conv2d(x, weight)                                           "pointwise"
        F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)       "up"
        F.conv2d(x, weight, stride=2)                                 "down"

    Differentiable any number of times in both tensors: the data gradient is the kernel's again, the weight gradient
    is cuDNN's. Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where
    impl="mma" or "wgmma" has no kernel. Source: implicit matrix products as in cuDNN (arXiv 1410.0759), section 3.
    """
    _check(x, weight, form)
    path = chosen_path(_OP, x, weight, impl, up=2 if form == "up" else 1)
    if not runs_natively(_OP, x, other_impl(impl)) or path == "cudnn":
        return implicit_conv_reference(x, weight, form=form)
    return convolve(x, weight, form, path)


def implicit_conv_reference(x: torch.Tensor, weight: torch.Tensor, *, form: ConvForm = "plain") -> torch.Tensor:
    """Compute `implicit_conv` in plain torch: the same arguments and result. Raises what torch raises."""
    x = x.contiguous(memory_format=torch.channels_last)
    if form == "up":
        y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=_STRIDE)  # [N, O, 2 H + 1, 2 W + 1]
    else:
        y = F.conv2d(x, weight, stride=_STRIDE if form == "down" else 1, padding=1 if form == "plain" else 0)
    return y.contiguous(memory_format=torch.channels_last)  # [N, O, H', W']


def tile_size(form: ConvForm, outputs: int, path: ConvPath = "mma") -> tuple[int, int, int]:
    """Return rows of 16 positions, output channels and input channels of a tile.

    conv_tile_size and WgTile in csrc are its twins.
    """
    if path == "wgmma":
        return 16, 64 if outputs <= 64 else 128, 64
    if form == "plain":
        return (8, 32, 32) if outputs <= 32 else (16, 64, 16)
    return (8, 64, 32) if form == "pointwise" else (8, 32, 16)


def form_of(weight: torch.Tensor, up: int) -> ConvForm:
    """Return the form of the convolution by `weight` `[O, C, k, k]`, transposed with stride 2 for up=2."""
    if up == _STRIDE:
        return "up"
    return "pointwise" if weight.shape[2] == 1 else "plain"


def convolve(x: torch.Tensor, weight: torch.Tensor, form: ConvForm, path: ConvPath) -> torch.Tensor:
    """Run a kernel of `implicit_conv`, that of the path "mma" or "wgmma", arguments unchecked."""
    y: torch.Tensor = torch.ops.deltafast.implicit_conv(x, weight, _NUMBERS[form], path == "wgmma")
    return y


def convolve_activated(
    x: torch.Tensor,
    weight: torch.Tensor,
    form: ConvForm,
    path: ConvPath,
    epilogue: Epilogue,
    f: torch.Tensor | None = None,
    filter_gain: float = 1.0,
) -> torch.Tensor:
    """Convolve `x` `[N, C, H, W]`, filter the result by `f` `[4]` for the form "up", and apply the epilogue; one pass.

    Not differentiable, arguments unchecked; the path "wgmma" has no filter.
    """
    number = _FILTERED if form == "up" else _NUMBERS[form]
    y: torch.Tensor = torch.ops.deltafast.implicit_conv_activated(
        x, weight, number, path == "wgmma", f, filter_gain, *epilogue.for_kernel(x)
    )
    return y


def _check(x: torch.Tensor, weight: torch.Tensor, form: ConvForm) -> None:
    check_image(_OP, x)
    if form not in _NUMBERS:
        raise InvalidInputError(f"{_OP}: form must be one of {', '.join(_NUMBERS)}, got {form!r}")
    c, side = x.shape[1], 1 if form == "pointwise" else 3
    shape = tuple(weight.shape) if isinstance(weight, torch.Tensor) else ()
    if len(shape) != 4 or shape[1:] != (c, side, side) or 0 in shape:
        got = list(shape) if isinstance(weight, torch.Tensor) else type(weight).__name__
        raise InvalidInputError(f"{_OP}: weight must be [O, C, {side}, {side}] with C = {c}, got {got}")
    if weight.dtype != x.dtype and not torch.is_autocast_enabled(x.device.type):
        raise InvalidInputError(f"{_OP}: weight must be of x's dtype, {x.dtype}, got {weight.dtype}")
    if weight.device != x.device:
        raise InvalidInputError(f"{_OP}: weight is on {weight.device}, but x is on {x.device}")
    if form == "down" and any(size % 2 == 0 or size < 3 for size in x.shape[2:]):
        raise InvalidInputError(f"{_OP}: form 'down' takes odd H and W from 3 on, got {list(x.shape[2:])}")


def _size_of(number: int, size: int) -> int:
    """Return the rows or columns of the result for those of the input."""
    sizes = {_NUMBERS["up"]: 2 * size + 1, _NUMBERS["down"]: (size - 1) // 2, _FILTERED: 2 * size}
    return sizes.get(number, size)


def _fake(x: torch.Tensor, weight: torch.Tensor, form: int, *_: Any) -> torch.Tensor:
    shape = (x.shape[0], weight.shape[0], _size_of(form, x.shape[2]), _size_of(form, x.shape[3]))
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, weight, form, wgmma = inputs
    ctx.save_for_backward(x, weight)
    ctx.path = "wgmma" if wgmma else "mma"
    ctx.form = next(name for name, number in _NUMBERS.items() if number == form)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, weight = ctx.saved_tensors  # [N, C, H, W], [O, C, k, k]
    grad = grad.contiguous(memory_format=torch.channels_last)  # [N, O, H', W']
    grad_x = grad_weight = None
    if ctx.needs_input_grad[0]:
        turned = weight.transpose(0, 1)  # [C, O, k, k]
        if ctx.form == "plain":
            turned = turned.flip(2, 3)
        grad_x = convolve(grad, turned, _BACK[ctx.form], ctx.path)  # [N, C, H, W]
    if ctx.needs_input_grad[1]:
        grad_weight = _weight_gradient(ctx.form, x, weight, grad)  # [O, C, k, k]
    return grad_x, grad_weight, None, None


def _weight_gradient(form: ConvForm, x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """cuDNN's gradient of the weight."""
    stride, padding = 1 if form in ("plain", "pointwise") else _STRIDE, 1 if form == "plain" else 0
    seen, by = (grad, x) if form == "up" else (x, grad)  # a transposed convolution is another's data gradient
    shape = (by.shape[1], seen.shape[1], *weight.shape[2:])
    made: torch.Tensor = conv2d_weight(seen, shape, by, stride=stride, padding=padding)  # type: ignore[no-untyped-call]
    return made.transpose(0, 1) if form == "up" else made


register("implicit_conv", fake=_fake, backward=_backward, setup_context=_setup_context)
register(
    "implicit_conv_activated",
    fake=_fake,
    differentiable=False,
    instead="Call modulated_conv2d, which takes kernels that have one where it is needed.",
)
