"""The convolution on tensor cores as an implicit matrix product, and what it takes: packed weights.

Private to the convolutions of `modulated_conv2d` and `conv_to_rgb`, which choose it by `chosen_path`.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F

from deltafast.errors import InvalidInputError
from deltafast.ops._epilogue import Epilogue
from deltafast.ops._register import register

__all__ = ["ConvForm", "check_packed", "convolve", "convolve_activated", "form_of", "pack_implicit_conv", "tile_size"]

ConvForm = Literal["plain", "pointwise", "up", "down"]

# ConvForm in csrc/kernels/implicit_conv.h
_NUMBERS: dict[str, int] = {"plain": 0, "pointwise": 1, "up": 2, "down": 3}
_FILTERED = 4
# The form that makes a form's data gradient, with its weights turned.
_BACK: dict[str, ConvForm] = {"plain": "plain", "pointwise": "pointwise", "up": "down", "down": "up"}
_GROUP = 32  # output channels whose order is changed; see packed_channel there
_STRIDE = 2


def tile_size(form: ConvForm, outputs: int) -> tuple[int, int, int]:
    """Return rows of 16 positions, output channels and input channels of a tile; conv_tile_size in csrc is its twin."""
    if form == "plain":
        return (8, 32, 32) if outputs <= 32 else (16, 64, 16)
    return (8, 64, 32) if form == "pointwise" else (8, 32, 16)


def pack_implicit_conv(weight: torch.Tensor, form: ConvForm) -> torch.Tensor:
    """Order a weight `[O, C, k, k]` as the kernel reads it: once, for as long as the weight does not change.

    Result: `[O / outputs, C / depth, k * k, outputs, depth]` of weight's dtype, filled up with zeros to whole tiles of
    `tile_size`; of every 32 output channels, place 8 j + 2 q + e holds channel 8 q + 2 j + e.
    """
    outputs, inputs = weight.shape[:2]
    _, size, depth = tile_size(form, outputs)
    slices, chunks, taps = -(-outputs // size), -(-inputs // depth), weight[0, 0].numel()
    flat = weight.detach().reshape(outputs, inputs, taps)  # [O, C, taps]
    flat = F.pad(flat, (0, 0, 0, chunks * depth - inputs, 0, slices * size - outputs))
    split = flat.reshape(slices, size // _GROUP, 4, 4, 2, chunks, depth, taps)  # q, j, e of every group
    return split.permute(0, 5, 7, 1, 3, 2, 4, 6).reshape(slices, chunks, taps, size, depth).contiguous()


def check_packed(op: str, packed: torch.Tensor, weight: torch.Tensor, form: ConvForm) -> None:
    """Raise `InvalidInputError`, naming `op`, unless `packed` may be what `pack_implicit_conv` makes of `weight`."""
    outputs, inputs = weight.shape[:2]
    _, size, depth = tile_size(form, outputs)
    shape = (-(-outputs // size), -(-inputs // depth), weight[0, 0].numel(), size, depth)
    if not isinstance(packed, torch.Tensor) or tuple(packed.shape) != shape or packed.dtype != weight.dtype:
        raise InvalidInputError(f"{op}: packed must be what pack_implicit_conv(weight, {form!r}) makes of this weight")


def form_of(weight: torch.Tensor, up: int) -> ConvForm:
    """Return the form of the convolution by `weight` `[O, C, k, k]`, transposed with stride 2 for up=2."""
    if up == _STRIDE:
        return "up"
    return "pointwise" if weight.shape[2] == 1 else "plain"


def convolve(x: torch.Tensor, weight: torch.Tensor, form: ConvForm, packed: torch.Tensor | None = None) -> torch.Tensor:
    """Convolve `x` `[N, C, H, W]` by `weight` `[O, C, k, k]`; differentiable any number of times in both.

    `packed` is what `pack_implicit_conv` makes of the weight, made anew where it is None. Equivalent to
        F.conv2d(x, weight, padding=1)                                "plain"
        F.conv2d(x, weight)                                           "pointwise"
        F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)       "up"
        F.conv2d(x, weight, stride=2)                                 "down", H and W odd
    """
    if packed is None:
        packed = pack_implicit_conv(weight, form)
    y: torch.Tensor = torch.ops.deltafast.implicit_conv(x, weight, packed, _NUMBERS[form])
    return y


def convolve_activated(
    x: torch.Tensor,
    packed: torch.Tensor,
    outputs: int,
    form: ConvForm,
    epilogue: Epilogue,
    f: torch.Tensor | None = None,
    filter_gain: float = 1.0,
) -> torch.Tensor:
    """Convolve `x` `[N, C, H, W]`, filter the result by `f` `[4]` for the form "up", and apply the epilogue; one pass.

    Not differentiable.
    """
    number = _FILTERED if form == "up" else _NUMBERS[form]
    y: torch.Tensor = torch.ops.deltafast.implicit_conv_activated(
        x, packed, outputs, number, f, filter_gain, *epilogue.for_kernel(x)
    )
    return y


def _size_of(number: int, size: int) -> int:
    """Return the rows or columns of the result for those of the input."""
    sizes = {_NUMBERS["up"]: 2 * size + 1, _NUMBERS["down"]: (size - 1) // 2, _FILTERED: 2 * size}
    return sizes.get(number, size)


def _result(x: torch.Tensor, outputs: int, number: int) -> torch.Tensor:
    shape = (x.shape[0], outputs, _size_of(number, x.shape[2]), _size_of(number, x.shape[3]))
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _fake(x: torch.Tensor, weight: torch.Tensor, packed: torch.Tensor, form: int) -> torch.Tensor:
    return _result(x, weight.shape[0], form)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, weight, _, form = inputs
    ctx.save_for_backward(x, weight)
    ctx.form = next(name for name, number in _NUMBERS.items() if number == form)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    x, weight = ctx.saved_tensors  # [N, C, H, W], [O, C, k, k]
    grad = grad.contiguous(memory_format=torch.channels_last)  # [N, O, H', W']
    grad_x = grad_weight = None
    if ctx.needs_input_grad[0]:
        turned = weight.transpose(0, 1)  # [C, O, k, k]
        if ctx.form == "plain":
            turned = turned.flip(2, 3)
        grad_x = convolve(grad, turned, _BACK[ctx.form])  # [N, C, H, W]
    if ctx.needs_input_grad[1]:
        grad_weight = _weight_gradient(ctx.form, x, weight, grad)  # [O, C, k, k]
    return grad_x, grad_weight, None, None


def _weight_gradient(form: ConvForm, x: torch.Tensor, weight: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
    """cuDNN's gradient of the weight."""
    stride, padding = 1 if form in ("plain", "pointwise") else _STRIDE, 1 if form == "plain" else 0
    seen, by = (grad, x) if form == "up" else (x, grad)  # a transposed convolution is another's data gradient
    shape = (by.shape[1], seen.shape[1], *weight.shape[2:])
    made: torch.Tensor = torch.nn.grad.conv2d_weight(  # type: ignore[no-untyped-call]
        seen, shape, by, stride=stride, padding=padding
    )
    return made.transpose(0, 1) if form == "up" else made


def _fake_activated(x: torch.Tensor, packed: torch.Tensor, outputs: int, form: int, *_: Any) -> torch.Tensor:
    return _result(x, outputs, form)


register("implicit_conv", fake=_fake, backward=_backward, setup_context=_setup_context)
register(
    "implicit_conv_activated",
    fake=_fake_activated,
    differentiable=False,
    instead="Call modulated_conv2d, which takes kernels that have one where it is needed.",
)
