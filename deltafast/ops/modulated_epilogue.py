"""The fused epilogue of a modulated convolution: demodulation, noise, bias, leaky ReLU, gain, clamp, next style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from deltafast.ops._arguments import accumulation_dtype, check_image, dense, result_format
from deltafast.ops._epilogue import Epilogue
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register

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
    epilogue = Epilogue(demod, noise, noise_strength, bias, next_style, negative_slope, gain, clamp)
    epilogue.check(_OP, x, (x.shape[2], x.shape[3]))
    if not runs_natively(_OP, x, impl):
        return epilogue.apply(x)
    result: torch.Tensor = torch.ops.deltafast.modulated_epilogue(dense(x), *epilogue.for_kernel(x))
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
    return Epilogue(demod, noise, noise_strength, bias, next_style, negative_slope, gain, clamp).apply(x)


def _fake(x: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty_like(x, memory_format=result_format(x))


def _fake_backward(grad: torch.Tensor, x: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
    noise, noise_needs_grad = rest[1], rest[-1]
    n, c, h, w = x.shape
    grad_x = torch.empty_like(x, memory_format=result_format(x))
    sums = x.new_empty((n, c, 4), dtype=accumulation_dtype(x))
    maps = n if noise_needs_grad and noise is not None else 0
    return grad_x, sums, sums.new_empty((maps, 1, h, w))


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


register("modulated_epilogue", fake=_fake, backward=_backward, setup_context=_setup_context)
register("modulated_epilogue_backward", fake=_fake_backward, differentiable=False)
