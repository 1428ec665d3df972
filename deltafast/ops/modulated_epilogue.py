"""The fused epilogue of a modulated convolution: demodulation, noise, bias, leaky ReLU, gain, clamp, next style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
import torch.nn.functional as F

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops._arguments import accumulation_dtype, check_image, check_small, dense, result_format
from deltafast.ops._library import Impl, runs_natively

__all__ = ["modulated_epilogue", "modulated_epilogue_reference"]

_OP = "modulated_epilogue"


def modulated_epilogue(
    x: torch.Tensor,
    demod: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    noise_strength: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    next_style: torch.Tensor | None = None,
    negative_slope: float = 0.2,
    gain: float = math.sqrt(2.0),
    clamp: float | None = None,
    impl: Impl = "auto",
) -> torch.Tensor:
    """Apply everything that follows a modulated convolution in one pass over memory.

    Arguments, all on one device and floating point:
      x: `[N, C, H, W]`, the convolution's result; float32, float64, float16 or bfloat16, contiguous or channels-last
        (any other strides are copied).
      demod: `[N, C]`, demodulation coefficients (StyleGAN2, arXiv 1912.04958, eq. 3); None stands for 1.
      noise: `[N, 1, H, W]`, or `[1, 1, H, W]` for all samples alike; None adds none.
      noise_strength: `[]`; None stands for 1. It is not read where there is no noise.
      bias: `[C]`; None stands for 0.
      next_style: `[N, C]`, the scales of the convolution that reads the result next; None stands for 1.
      negative_slope: slope of the leaky ReLU, 0 to 1.
      gain: factor after the leaky ReLU.
      clamp: results are limited to [-clamp, clamp] before next_style; positive, or None for no limit.
      impl: "auto", "native" or "reference".

    Result: `[N, C, H, W]` of x's dtype and memory format, rounded once from float32 (float64 for float64).

    Equivalent to:
        u = demod[:, :, None, None] * x + noise_strength * noise + bias[None, :, None, None]
        y = (gain * F.leaky_relu(u, negative_slope)).clamp(-clamp, clamp) * next_style[:, :, None, None]

    Differentiable once in all tensor arguments; differentiating the native gradient again raises `NativeOpError`
    (impl="reference" can be differentiated any number of times).
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native"
    has no kernel.
    """
    check_image(_OP, x)
    size = (x.shape[2], x.shape[3])
    check_epilogue(_OP, x, size, demod, noise, noise_strength, bias, next_style, negative_slope, gain, clamp)
    if not runs_natively(_OP, x, impl):
        return modulated_epilogue_reference(
            x,
            demod,
            noise,
            noise_strength,
            bias,
            next_style=next_style,
            negative_slope=negative_slope,
            gain=gain,
            clamp=clamp,
        )
    result: torch.Tensor = torch.ops.deltafast.modulated_epilogue(
        dense(x),
        *in_accumulation_dtype(x, demod, noise, noise_strength, bias, next_style),
        float(negative_slope),
        float(gain),
        None if clamp is None else float(clamp),
    )
    return result  # [N, C, H, W]


def modulated_epilogue_reference(
    x: torch.Tensor,
    demod: torch.Tensor | None = None,
    noise: torch.Tensor | None = None,
    noise_strength: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    *,
    next_style: torch.Tensor | None = None,
    negative_slope: float = 0.2,
    gain: float = math.sqrt(2.0),
    clamp: float | None = None,
) -> torch.Tensor:
    """Compute `modulated_epilogue` in plain torch: the same arguments, result and rounding, any number of gradients.

    Raises what torch raises; it checks nothing.
    """
    accumulate = accumulation_dtype(x)
    u = x.to(accumulate)  # [N, C, H, W]
    if demod is not None:
        u = u * demod.to(accumulate)[:, :, None, None]
    if noise is not None:
        scaled = noise.to(accumulate)  # [N or 1, 1, H, W]
        if noise_strength is not None:
            scaled = scaled * noise_strength.to(accumulate)
        u = u + scaled
    if bias is not None:
        u = u + bias.to(accumulate)[None, :, None, None]
    y = F.leaky_relu(u, negative_slope) * gain
    if clamp is not None:
        y = y.clamp(-clamp, clamp)
    if next_style is not None:
        y = y * next_style.to(accumulate)[:, :, None, None]
    return y.to(x.dtype)  # [N, C, H, W]


def in_accumulation_dtype(
    x: torch.Tensor,
    demod: torch.Tensor | None,
    noise: torch.Tensor | None,
    noise_strength: torch.Tensor | None,
    bias: torch.Tensor | None,
    next_style: torch.Tensor | None,
) -> tuple[torch.Tensor | None, ...]:
    """Return an epilogue's tensors, in this order, as its kernels take them; a strength without noise becomes None."""
    accumulate = accumulation_dtype(x)
    if noise is None:
        noise_strength = None
    elif noise_strength is not None:
        noise_strength = noise_strength.reshape(())
    small = (demod, noise, noise_strength, bias, next_style)
    return tuple(None if t is None else t.to(accumulate) for t in small)


def check_epilogue(
    op: str,
    x: torch.Tensor,
    size: tuple[int, int],
    demod: torch.Tensor | None,
    noise: torch.Tensor | None,
    noise_strength: torch.Tensor | None,
    bias: torch.Tensor | None,
    next_style: torch.Tensor | None,
    negative_slope: float,
    gain: float,
    clamp: float | None,
    channels: int | None = None,
) -> None:
    """Raise `InvalidInputError`, naming `op`, unless these are the arguments of an epilogue on `x.shape[0]` images.

    The images have `channels` channels (None: those of `x`) and `size` (height, width).
    """
    n, c = x.shape[0], x.shape[1] if channels is None else channels
    h, w = size
    if demod is not None:
        check_small(op, "demod", demod, x, (n, c), "[N, C]")
    if noise is not None:
        maps = 1 if isinstance(noise, torch.Tensor) and noise.dim() == 4 and noise.shape[0] == 1 else n
        check_small(op, "noise", noise, x, (maps, 1, h, w), "[N or 1, 1, H, W]")
    if noise_strength is not None:
        single = isinstance(noise_strength, torch.Tensor) and noise_strength.dim() == 1
        check_small(op, "noise_strength", noise_strength, x, (1,) if single else (), "[]")
    if bias is not None:
        check_small(op, "bias", bias, x, (c,), "[C]")
    if next_style is not None:
        check_small(op, "next_style", next_style, x, (n, c), "[N, C]")
    if not 0.0 <= negative_slope <= 1.0:
        raise InvalidInputError(f"{op}: negative_slope must be in 0..1, got {negative_slope}")
    if not abs(gain) < math.inf:
        raise InvalidInputError(f"{op}: gain must be finite, got {gain}")
    if clamp is not None and not clamp > 0.0:
        raise InvalidInputError(f"{op}: clamp must be positive or None, got {clamp}")


def _fake(x: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty_like(x, memory_format=result_format(x))


def _fake_backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    demod: torch.Tensor | None,
    noise: torch.Tensor | None,
    noise_strength: torch.Tensor | None,
    bias: torch.Tensor | None,
    next_style: torch.Tensor | None,
    negative_slope: float,
    gain: float,
    clamp: float | None,
    noise_needs_grad: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    n, c, h, w = x.shape
    accumulate = accumulation_dtype(x)
    grad_x = torch.empty_like(x, memory_format=result_format(x))
    sums = x.new_empty((n, c, 4), dtype=accumulate)
    maps = n if noise_needs_grad and noise is not None else 0
    return grad_x, sums, x.new_empty((maps, 1, h, w), dtype=accumulate)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.constants = inputs[6:]


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
    x, demod, noise, noise_strength, bias, next_style = ctx.saved_tensors
    needs = ctx.needs_input_grad[1:6]
    grad_x, sums, grad_noise = torch.ops.deltafast.modulated_epilogue_backward(
        grad, x, demod, noise, noise_strength, bias, next_style, *ctx.constants, needs[1]
    )  # [N, C, H, W], [N, C, 4], [N or 0, 1, H, W]
    return grad_x, *gradients_of_small(sums, grad_noise, noise, needs), None, None, None


def gradients_of_small(
    sums: torch.Tensor, grad_noise: torch.Tensor, noise: torch.Tensor | None, needs: Sequence[bool]
) -> tuple[torch.Tensor | None, ...]:
    """Return the gradients of demod, noise, noise_strength, bias and next_style, None where `needs` is False.

    `sums` `[N, C, 4]` and `grad_noise` `[N or 0, 1, H, W]` are what `modulated_epilogue_backward` returns.
    """
    needs_demod, needs_noise, needs_strength, needs_bias, needs_style = needs
    if noise is not None and needs_noise and noise.shape[0] != sums.shape[0]:
        grad_noise = grad_noise.sum(0, keepdim=True)  # [1, 1, H, W]
    return (
        sums[:, :, 0] if needs_demod else None,  # [N, C]
        grad_noise if needs_noise else None,  # [N or 1, 1, H, W]
        sums[:, :, 2].sum() if needs_strength else None,  # []
        sums[:, :, 1].sum(0) if needs_bias else None,  # [C]
        sums[:, :, 3] if needs_style else None,  # [N, C]
    )


def _refuse_second_order(ctx: Any, *_: Any) -> NoReturn:
    raise NativeOpError(
        "modulated_epilogue: the native kernel can be differentiated once only. "
        "Use impl='reference' where a second-order gradient is needed."
    )


torch.library.register_fake("deltafast::modulated_epilogue", _fake)
torch.library.register_fake("deltafast::modulated_epilogue_backward", _fake_backward)
torch.library.register_autograd("deltafast::modulated_epilogue", _backward, setup_context=_setup_context)
torch.library.register_autograd("deltafast::modulated_epilogue_backward", _refuse_second_order)
