"""The edit as a flow: dw/dt = f(w, Δ) for time α, with f linear in Δ, all steps of the integrator in one launch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops._arguments import accumulation_dtype, check_slots, check_small
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register

__all__ = [
    "FLOW_STEPS",
    "MAX_FLOW_STEPS",
    "delta_flow",
    "delta_flow_reference",
    "flow_activation",
    "flow_coordinates",
    "flow_coordinates_reference",
]

FLOW_STEPS = 4  # per unit of α; tests/ops/test_delta_flow.py holds what this many leave
MAX_FLOW_STEPS = 1024  # of one path; beyond it the steps grow

_EDIT = "delta_flow"
_OP = "flow_coordinates"
_RUNS = 32  # kFlowRuns of csrc/kernels/delta_flow.h
_WARPS, _PATH, _SHARED = 8, 12, 48 * 1024  # kWarps, bytes of a FlowPath and kMaxShared of its CUDA kernels


def flow_activation(x: Tensor) -> Tensor:
    """Return 0.6 x + 0.4 √(x² + 1): a leaky ReLU of slope 0.2 without its kink, which an integrator would see.

    The smooth part is Barron's squareplus (arXiv 2112.11687).
    """
    return 0.6 * x + 0.4 * (x * x + 1).sqrt()


def delta_flow(
    ws: Tensor,
    alpha: Tensor,
    direction: Tensor,
    index: Tensor,
    *,
    latent_weight: Tensor,
    latent_bias: Tensor,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    output_weight: Tensor,
    steps: int = FLOW_STEPS,
    impl: Impl = "auto",
) -> Tensor:
    """Move some W+ slots of latents along dw/dt = (h(w) ⊙ VΔ) W for time α; copy the rest.

    Args, all on one device and floating point unless said otherwise:

    - `ws`: latents `[N, num_ws, w_dim]`; float32, float64, float16 or bfloat16.
    - `alpha`: `[N]`, of either sign: -α from where α led is the way back.
    - `direction`: `[N or 1, S, width]`: VΔ.
    - `index`: int64 `[S]`, the distinct W+ slots that are moved, 0 to num_ws - 1.
    - `latent_weight` `[S, w_dim, width]`, `latent_bias` `[S, width]`: first layer of h, which reads w itself.
    - `hidden_weight` `[layers - 1, S, width, width]`, `hidden_bias` `[layers - 1, S, width]`: h's other layers.
    - `output_weight` `[S, width, w_dim]`: W.
    - `steps`: of the integrator per unit of α, at least 1, wherever a path starts; see `flow_coordinates`.
    - `impl`: "auto", "native" or "reference".

    Result: `[N, num_ws, w_dim]` of ws's dtype, rounded once from float32 (float64 for float64); ws itself, to the bit,
    where α = 0.

    A path never leaves ws plus the span of the rows of W, and h reads w through latent_weight alone, so the steps are
    taken in `width` coordinates; `flow_coordinates` is that part. Equivalent to (slot s, one hidden layer, K steps):
        w = ws[:, index[s]]
        for _ in range(K):  # Runge and Kutta's fourth order, here Euler's rule for short
            h = flow_activation(w @ latent_weight[s] + latent_bias[s])
            w = w + alpha / K * (h * direction[:, s]) @ output_weight[s]

    Differentiable in all floating-point arguments; any number of times with impl="reference". Raises
    `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has no
    kernel.
    """
    _check_edit(
        ws, alpha, direction, index, latent_weight, latent_bias, hidden_weight, hidden_bias, output_weight, steps
    )
    accumulate = accumulation_dtype(ws)
    small = [t.to(accumulate) for t in (alpha, direction, latent_weight, latent_bias)]
    small += [t.to(accumulate) for t in (hidden_weight, hidden_bias, output_weight)]
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in (ws, *small))
    native = _native(_EDIT, small[0], impl, latent_weight.shape[2], hidden_weight.shape[0] + 1, wanted)
    if native and not wanted and runs_natively(_EDIT, small[0], "auto", ("cpu",)):
        return _edit_at_once(ws, index, *small, steps=steps)
    return _edit(ws, index, *small, steps=steps, native=native)


def delta_flow_reference(
    ws: Tensor,
    alpha: Tensor,
    direction: Tensor,
    index: Tensor,
    latent_weight: Tensor,
    latent_bias: Tensor,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    output_weight: Tensor,
    steps: int = FLOW_STEPS,
) -> Tensor:
    """Compute `delta_flow` in plain torch: the same arguments (small ones of the accumulation dtype) and result.

    Raises what torch raises; it checks nothing.
    """
    return _edit(
        ws,
        index,
        alpha,
        direction,
        latent_weight,
        latent_bias,
        hidden_weight,
        hidden_bias,
        output_weight,
        steps=steps,
        native=False,
    )


def _edit(
    ws: Tensor,
    index: Tensor,
    alpha: Tensor,
    direction: Tensor,
    latent_weight: Tensor,
    latent_bias: Tensor,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    output_weight: Tensor,
    *,
    steps: int,
    native: bool,
) -> Tensor:
    old = ws[:, index].to(alpha.dtype).transpose(0, 1)  # [S, N, w_dim]
    start = torch.baddbmm(latent_bias[:, None], old, latent_weight)  # [S, N, width]
    mixing = _mixing(latent_weight, hidden_weight, output_weight)
    codes = direction.transpose(0, 1)  # [S, N or 1, width]
    if native:
        moved = torch.ops.deltafast.delta_flow(start, alpha, codes, mixing, hidden_bias, steps)
    else:
        moved = flow_coordinates_reference(start, alpha, codes, mixing, hidden_bias, steps)  # [S, N, width]
    new = torch.baddbmm(old, moved, output_weight).transpose(0, 1)  # [N, S, w_dim]
    return ws.index_copy(1, index, new.to(ws.dtype))  # [N, num_ws, w_dim]


def _native(op: str, x: Tensor, impl: Impl, width: int, layers: int, wanted: bool) -> bool:
    """Whether a native kernel runs for `x`, which is of the type that steps are taken in.

    On CUDA "auto" leaves widths to the reference whose paths do not fit the shared memory of a block; "native" raises
    `NativeOpError` for them.
    """
    if not runs_natively(op, x, impl) or runs_natively(op, x, "auto", ("cpu",)):
        return runs_natively(op, x, impl)
    buffers = 20 + 4 * layers if wanted else 7  # of a warp's path each; csrc/kernels/cuda/delta_flow.cu
    fits = (buffers * 4 * (-(-width // 4) * 4) + _PATH) * _WARPS <= _SHARED
    if impl == "native" and not fits:
        raise NativeOpError(
            f"{op}: a width of {width} in {layers} layers needs more shared memory than a CUDA block has. "
            "Use impl='auto' or impl='reference'."
        )
    return fits


def _edit_at_once(
    ws: Tensor,
    index: Tensor,
    alpha: Tensor,
    direction: Tensor,
    latent_weight: Tensor,
    latent_bias: Tensor,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    output_weight: Tensor,
    *,
    steps: int,
) -> Tensor:
    """The edit in one pass over the latents, on a CPU, where no gradient is wanted."""
    result: Tensor = torch.ops.deltafast.delta_flow_edit(
        ws.to(alpha.dtype),
        alpha,
        direction.transpose(0, 1),
        index,
        latent_weight,
        latent_bias,
        _mixing(latent_weight, hidden_weight, output_weight),
        hidden_bias,
        output_weight,
        steps,
    )
    return result.to(ws.dtype)


def _mixing(latent_weight: Tensor, hidden_weight: Tensor, output_weight: Tensor) -> Tensor:
    """How a layer reads the one below in the coordinates z, `[layers, S, width, width]`."""
    return torch.cat([torch.bmm(output_weight, latent_weight)[None], hidden_weight])


def flow_coordinates(
    start: Tensor,
    alpha: Tensor,
    direction: Tensor,
    mixing: Tensor,
    bias: Tensor,
    *,
    steps: int = FLOW_STEPS,
    impl: Impl = "auto",
) -> Tensor:
    """Return z(α) of dz/dt = h(start + z M) ⊙ VΔ, z(0) = 0: how far a path goes along each row of W.

    With h's first layer w A + b, `start` is w A + b where the path begins and M = W A. One step of Runge and Kutta's
    classic rule of fourth order after the other: ⌊|α| · steps⌋ of them of size 1 / steps, and a last one for the rest.
    So paths that meet take the same steps, whatever lies behind them. (More than `MAX_FLOW_STEPS` are never taken;
    then they are as large as |α| asks for.)

    Args, all of one dtype and on one device:

    - `start`: `[S, N, width]`, float32 or float64. `alpha`: `[N]`. `direction`: VΔ, `[S, N or 1, width]`.
    - `mixing`: `[layers, S, width, width]`: M, then the weights of h's other layers. `bias`: theirs,
      `[layers - 1, S, width]`.
    - `steps`: per unit of α, at least 1. `impl`: "auto", "native" or "reference".

    Result: `[S, N, width]`. Differentiable in all tensors (in α by the last step); the native gradient recomputes the
    path, and a second backward through it raises `NativeOpError` (impl="reference" has it). Raises `InvalidInputError`
    for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has no kernel.
    """
    _check_coordinates(start, alpha, direction, mixing, bias, steps)
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in (start, alpha, direction, mixing, bias))
    if not _native(_OP, start, impl, start.shape[2], mixing.shape[0], wanted):
        return flow_coordinates_reference(start, alpha, direction, mixing, bias, steps)
    result: Tensor = torch.ops.deltafast.delta_flow(start, alpha, direction, mixing, bias, steps)
    return result  # [S, N, width]


def flow_coordinates_reference(
    start: Tensor, alpha: Tensor, direction: Tensor, mixing: Tensor, bias: Tensor, steps: int
) -> Tensor:
    """Compute `flow_coordinates` in plain torch. Raises what torch raises; it checks nothing."""
    count = alpha.abs() * steps  # [N]
    full = torch.where(count <= MAX_FLOW_STEPS, count.detach().floor(), 0)
    size = torch.sign(alpha.detach()) / steps
    rest = alpha - full * size
    far = (count > MAX_FLOW_STEPS) & count.isfinite()
    full = torch.where(far, MAX_FLOW_STEPS, full)
    size, rest = torch.where(far, alpha / MAX_FLOW_STEPS, size), torch.where(far, 0 * rest, rest)

    def rate(z: Tensor) -> Tensor:
        x = flow_activation(torch.baddbmm(start, z, mixing[0]))  # [S, N, width]
        for weight, shift in zip(mixing[1:], bias, strict=True):
            x = flow_activation(torch.baddbmm(shift[:, None], x, weight))
        return x * direction

    z = torch.zeros_like(start)
    for k in range(int(full.max()) + 1 if len(alpha) else 0):
        step = torch.where(k < full, size, torch.where(full.eq(k), rest, 0))[:, None]  # [N, 1]
        first = rate(z)
        second = rate(z + step / 2 * first)
        third = rate(z + step / 2 * second)
        fourth = rate(z + step * third)
        z = z + step / 6 * (first + 2 * second + 2 * third + fourth)
    return z  # [S, N, width]


def _check_edit(
    ws: Tensor,
    alpha: Tensor,
    direction: Tensor,
    index: Tensor,
    latent_weight: Tensor,
    latent_bias: Tensor,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    output_weight: Tensor,
    steps: int,
) -> None:
    if not isinstance(ws, Tensor) or ws.dim() != 3:
        got = list(ws.shape) if isinstance(ws, Tensor) else type(ws).__name__
        raise InvalidInputError(f"{_EDIT}: ws must be a tensor [N, num_ws, w_dim], got {got}")
    if ws.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise InvalidInputError(f"{_EDIT}: ws must be float32, float64, float16 or bfloat16, got {ws.dtype}")
    samples, _, w_dim = ws.shape
    check_slots(_EDIT, index, ws)
    slots = index.shape[0]
    if not isinstance(latent_weight, Tensor) or latent_weight.dim() != 3:
        raise InvalidInputError(f"{_EDIT}: latent_weight must be a tensor [S, w_dim, width]")
    width = latent_weight.shape[2]
    layers = hidden_weight.shape[0] if isinstance(hidden_weight, Tensor) and hidden_weight.dim() == 4 else 0
    directions = direction.shape[0] if isinstance(direction, Tensor) and direction.dim() == 3 else 1
    if directions not in (1, samples):
        raise InvalidInputError(f"{_EDIT}: direction must be for one sample or for {samples}, got {directions}")
    for name, t, shape, says in (
        ("alpha", alpha, (samples,), "[N]"),
        ("direction", direction, (directions, slots, width), "[N or 1, S, width]"),
        ("latent_weight", latent_weight, (slots, w_dim, width), "[S, w_dim, width]"),
        ("latent_bias", latent_bias, (slots, width), "[S, width]"),
        ("hidden_weight", hidden_weight, (layers, slots, width, width), "[layers - 1, S, width, width]"),
        ("hidden_bias", hidden_bias, (layers, slots, width), "[layers - 1, S, width]"),
        ("output_weight", output_weight, (slots, width, w_dim), "[S, width, w_dim]"),
    ):
        check_small(_EDIT, name, t, ws, shape, says)
    _check_steps(_EDIT, steps)


def _check_coordinates(
    start: Tensor, alpha: Tensor, direction: Tensor, mixing: Tensor, bias: Tensor, steps: int
) -> None:
    if not isinstance(start, Tensor) or start.dim() != 3 or start.dtype not in (torch.float32, torch.float64):
        got = f"{start.dtype} {list(start.shape)}" if isinstance(start, Tensor) else type(start).__name__
        raise InvalidInputError(f"{_OP}: start must be a float32 or float64 tensor [S, N, width], got {got}")
    slots, samples, width = start.shape
    layers = mixing.shape[0] if isinstance(mixing, Tensor) and mixing.dim() == 4 else 1
    if layers < 1:
        raise InvalidInputError(f"{_OP}: mixing must hold at least one layer")
    directions = direction.shape[1] if isinstance(direction, Tensor) and direction.dim() == 3 else 1
    if directions not in (1, samples):
        raise InvalidInputError(f"{_OP}: direction must be for one sample or for {samples}, got {directions}")
    for name, t, shape, says in (
        ("alpha", alpha, (samples,), "[N]"),
        ("direction", direction, (slots, directions, width), "[S, N or 1, width]"),
        ("mixing", mixing, (layers, slots, width, width), "[layers, S, width, width]"),
        ("bias", bias, (layers - 1, slots, width), "[layers - 1, S, width]"),
    ):
        check_small(_OP, name, t, start, shape, says)
        if t.dtype != start.dtype:
            raise InvalidInputError(f"{_OP}: {name} must be {start.dtype} as start is, got {t.dtype}")
    _check_steps(_OP, steps)


def _check_steps(op: str, steps: int) -> None:
    if isinstance(steps, (bool, float)) or not 1 <= steps <= MAX_FLOW_STEPS:
        raise InvalidInputError(f"{op}: steps must be a whole number from 1 to {MAX_FLOW_STEPS}, got {steps!r}")


def _fake(start: Tensor, alpha: Tensor, direction: Tensor, mixing: Tensor, bias: Tensor, steps: int) -> Tensor:
    return torch.empty(start.shape, dtype=start.dtype, device=start.device)


def _fake_backward(
    grad: Tensor,
    start: Tensor,
    alpha: Tensor,
    direction: Tensor,
    mixing: Tensor,
    transposed: Tensor,
    bias: Tensor,
    steps: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    slots, samples, width = start.shape
    count = width * (width * mixing.shape[0] + mixing.shape[0] - 1)
    return (
        torch.empty(start.shape, dtype=start.dtype, device=start.device),
        torch.empty(start.shape, dtype=start.dtype, device=start.device),
        start.new_empty(slots, samples),
        start.new_empty(_RUNS, slots, count),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.steps = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    start, alpha, direction, mixing, bias = ctx.saved_tensors
    transposed = mixing.transpose(2, 3).contiguous()
    grad_start, grad_direction, grad_alpha, sums = torch.ops.deltafast.delta_flow_backward(
        grad, start, alpha, direction, mixing, transposed, bias, ctx.steps
    )
    if direction.shape[1] != start.shape[1]:
        grad_direction = grad_direction.sum(1, keepdim=True)  # [S, 1, width]
    layers, slots, width, _ = mixing.shape
    weights, biases = sums.sum(0).split([layers * width * width, (layers - 1) * width], 1)  # [S, ...]
    grad_mixing = weights.reshape(slots, layers, width, width).transpose(0, 1)
    grad_bias = biases.reshape(slots, layers - 1, width).transpose(0, 1)
    return grad_start, grad_alpha.sum(0), grad_direction, grad_mixing, grad_bias, None


def _fake_edit(ws: Tensor, *_: Any) -> Tensor:
    return torch.empty(ws.shape, dtype=ws.dtype, device=ws.device)


register("delta_flow_edit", fake=_fake_edit, differentiable=False, instead="Call deltafast.ops.delta_flow.")
register("delta_flow", fake=_fake, backward=_backward, setup_context=_setup_context)
register("delta_flow_backward", fake=_fake_backward, differentiable=False)
