"""Matrix products that give a sample the same bits whatever it is batched with."""

from __future__ import annotations

from typing import Any

import torch

from deltafast.errors import InvalidInputError
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register

__all__ = ["invariant_linear", "invariant_linear_reference"]

_OP = "invariant_linear"


def invariant_linear(x: torch.Tensor, weight: torch.Tensor, *, impl: Impl = "auto") -> torch.Tensor:
    """Multiply every row of `x` by `weight`, as `F.linear` does; on a CPU a row's bits do not depend on the others.

    Libraries choose kernels, and with them the order of their sums, by the number of rows and by how these are
    aligned. This one sums in one order, reads the weight once for all rows, and is meant for few of them.

    Arguments:
      x: `[N, C]`, or `[G, N, C]` for G products at once; float32 or float64 (others, and other devices: the reference).
      weight: `[O, C]` or `[G, O, C]`, of x's dtype and on its device.
      impl: "auto", "native" or "reference". There is no CUDA kernel.

    Result: `[N, O]` or `[G, N, O]`, contiguous. Gradients can be differentiated any number of times; that of `x` keeps
    the promise too, that of `weight` is a sum over rows.

    Equivalent to: `x @ weight.mT`.
    Raises `InvalidInputError` for wrong shapes, dtypes or devices, and `NativeOpError` where impl="native" has no
    kernel.
    """
    _check(x, weight)
    if not runs_natively(_OP, x, impl, kernels=("cpu",)):
        return invariant_linear_reference(x, weight)
    if x.dim() == 3:
        result: torch.Tensor = torch.ops.deltafast.invariant_linear(x, weight, False)
        return result  # [G, N, O]
    return torch.ops.deltafast.invariant_linear(x[None], weight[None], False)[0]  # type: ignore[no-any-return]


def invariant_linear_reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Compute `invariant_linear` in plain torch, whose bits may depend on the batch. Raises what torch raises."""
    return x @ weight.mT


def _check(x: torch.Tensor, weight: torch.Tensor) -> None:
    for name, t in (("x", x), ("weight", weight)):
        if not isinstance(t, torch.Tensor) or t.dim() not in (2, 3) or not t.dtype.is_floating_point:
            got = f"{t.dtype} {list(t.shape)}" if isinstance(t, torch.Tensor) else type(t).__name__
            raise InvalidInputError(f"{_OP}: {name} must be a floating-point matrix, or [G] of them, got {got}")
    if x.dtype != weight.dtype or x.device != weight.device:
        raise InvalidInputError(f"{_OP}: weight is {weight.dtype} on {weight.device}, but x is {x.dtype} on {x.device}")
    if x.dim() != weight.dim() or x.shape[:-2] != weight.shape[:-2] or x.shape[-1] != weight.shape[-1]:
        raise InvalidInputError(
            f"{_OP}: weight must be [O, C] or [G, O, C] for x [N, C] or [G, N, C]; got {list(weight.shape)} "
            f"for {list(x.shape)}"
        )


def _fake(x: torch.Tensor, weight: torch.Tensor, transposed: bool) -> torch.Tensor:
    return x.new_empty(x.shape[0], x.shape[1], weight.shape[2 if transposed else 1])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    x, weight, ctx.transposed = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
    x, weight = ctx.saved_tensors
    grad_x = grad_weight = None
    if ctx.needs_input_grad[0]:
        grad_x = torch.ops.deltafast.invariant_linear(grad, weight, not ctx.transposed)
    if ctx.needs_input_grad[1]:
        grad_weight = x.mT @ grad if ctx.transposed else grad.mT @ x
    return grad_x, grad_weight, None


register("invariant_linear", fake=_fake, backward=_backward, setup_context=_setup_context)
