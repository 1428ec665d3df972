"""The edit w + D(w, αΔ) − D(w, 0) of many latents in one pass over them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops._arguments import accumulation_dtype, check_optional, check_slots, check_small
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register

__all__ = ["delta_edit", "delta_edit_reference"]

_OP = "delta_edit"
_SLOPE = 0.2
_WARPS, _CHUNK, _SHARED = 8, 64, 48 * 1024  # kWarps, kChunk and kMaxShared of its CUDA kernel
_MAX_GRID = 65_535  # W+ slots, one block each along the grid's second axis


def delta_edit(
    ws: Tensor,
    alpha: Tensor,
    direction: Tensor,
    index: Tensor,
    *,
    mean: Tensor,
    scale: Tensor,
    latent_weight: Tensor,
    latent_bias: Tensor,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    output_weight: Tensor,
    output_bias: Tensor | None = None,
    impl: Impl = "auto",
) -> Tensor:
    """Move some W+ slots of latents by D(w, αΔ) − D(w, 0), or by D(w, αΔ) where `output_bias` is given; copy the rest.

    Args, all on one device and floating point unless said otherwise:

    - `ws`: latents `[N, num_ws, w_dim]`; float32, float64, float16 or bfloat16 (strides other than dense are copied).
    - `alpha`: `[N]`.
    - `direction`: `[N or 1, 2, S, width]`: Δ through D's code layer; the first of the two is scaled by α where α ≥ 0,
      the second one by |α| where α < 0.
    - `index`: int64 `[S]`, the distinct W+ slots that are moved, 0 to num_ws - 1.
    - `mean` `[S, w_dim]` and `scale` `[]`, constants: D reads (w − mean) / scale, and its result is scaled back.
    - `latent_weight` `[S, w_dim, width]`, `latent_bias` `[S, width]`: D's first layer, for w.
    - `hidden_weight` `[layers - 1, S, width, width]`, `hidden_bias` `[layers - 1, S, width]`: D's other hidden layers.
    - `output_weight` `[S, width, w_dim]`, `output_bias` `[S, w_dim]`: D's last layer. Its bias cancels in the
      difference; with it the paper's raw edit w + D(w, αΔ) is computed.
    - `impl`: "auto", "native" or "reference".

    Result: `[N, num_ws, w_dim]` of ws's dtype, rounded once from float32 (float64 for float64). Without `output_bias`
    it is ws itself where α = 0, to the bit.

    Equivalent to (one slot s, one hidden layer):
        x = (ws[:, index[s]] - mean[s]) / scale @ latent_weight[s] + latent_bias[s]
        code = torch.where(alpha < 0, -alpha * direction[:, 1, s], alpha * direction[:, 0, s])
        change = (leaky_relu(x + code, 0.2) - leaky_relu(x, 0.2)) @ output_weight[s]
        ws[:, index[s]] + scale * change

    Differentiable any number of times in all but `mean` and `scale`. Raises `InvalidInputError` for wrong shapes,
    dtypes, devices or values, and `NativeOpError` where impl="native" has no kernel.
    """
    small = (latent_weight, latent_bias, hidden_weight, hidden_bias, output_weight)
    _check(ws, alpha, direction, index, mean, scale, *small, output_bias)
    accumulate = accumulation_dtype(ws)
    alpha, direction = alpha.to(accumulate), direction.to(accumulate)
    network = [None if t is None else t.to(accumulate) for t in (mean, scale, *small, output_bias)]
    if not _native(ws, impl, latent_weight.shape[2], hidden_weight.shape[0] + 1):
        return delta_edit_reference(ws, alpha, direction, index, *network)  # type: ignore[arg-type]
    result: Tensor = torch.ops.deltafast.delta_edit(ws, alpha, direction, index, *network)
    return result  # [N, num_ws, w_dim]


def delta_edit_reference(
    ws: Tensor,
    alpha: Tensor,
    direction: Tensor,
    index: Tensor,
    mean: Tensor,
    scale: Tensor,
    latent_weight: Tensor,
    latent_bias: Tensor,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    output_weight: Tensor,
    output_bias: Tensor | None = None,
) -> Tensor:
    """Compute `delta_edit` in plain torch: the same arguments (as `delta_edit` casts them), result and rounding.

    Raises what torch raises; it checks nothing.
    """
    old = ws[:, index].to(alpha.dtype)  # [N, S, w_dim]
    latent = _embed(old, mean, scale, latent_weight, latent_bias)  # [S, N, width]

    def features(x: Tensor) -> Tensor:
        x = F.leaky_relu(x, _SLOPE)
        for weight, bias in zip(hidden_weight, hidden_bias, strict=True):
            x = F.leaky_relu(torch.bmm(x, weight) + bias[:, None], _SLOPE)
        return x  # [S, N, width]

    moved = features(latent + _code(alpha, direction))
    if output_bias is None:
        change = torch.bmm(moved - features(latent), output_weight)  # [S, N, w_dim]
    else:
        change = torch.bmm(moved, output_weight) + output_bias[:, None]
    new = old + (scale * change).transpose(0, 1)  # [N, S, w_dim]
    return ws.index_copy(1, index, new.to(ws.dtype))  # [N, num_ws, w_dim]


def _native(ws: Tensor, impl: Impl, width: int, layers: int) -> bool:
    """Whether the native kernel runs.

    On CUDA "auto" leaves to the reference what does not fit the shared memory of a block (`delta_edit_fits`); "native"
    raises `NativeOpError` for it.
    """
    if not runs_natively(_OP, ws, impl) or runs_natively(_OP, ws, "auto", ("cpu",)):
        return runs_natively(_OP, ws, impl)
    floats = _CHUNK + -(-width // 4) * 4 * (4 if layers > 1 else 2)
    if 4 * _WARPS * floats <= _SHARED and ws.shape[1] <= _MAX_GRID:
        return True
    if impl == "native":
        raise NativeOpError(
            f"{_OP}: a width of {width} in {layers} layers, or {ws.shape[1]} W+ slots, is more than a CUDA block "
            "takes. Use impl='auto' or impl='reference'."
        )
    return False


def _embed(old: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.bmm(((old - mean) / scale).transpose(0, 1), weight) + bias[:, None]  # [S, N, width]


def _code(alpha: Tensor, direction: Tensor) -> Tensor:
    amount = alpha[:, None, None]  # [N, 1, 1]
    chosen = torch.where(amount < 0, direction[:, 1], direction[:, 0])  # [N, S, width]
    return (amount.abs() * chosen).transpose(0, 1)  # [S, N, width]


def _check(
    ws: Tensor,
    alpha: Tensor,
    direction: Tensor,
    index: Tensor,
    mean: Tensor,
    scale: Tensor,
    latent_weight: Tensor,
    latent_bias: Tensor,
    hidden_weight: Tensor,
    hidden_bias: Tensor,
    output_weight: Tensor,
    output_bias: Tensor | None,
) -> None:
    if not isinstance(ws, Tensor) or ws.dim() != 3:
        got = list(ws.shape) if isinstance(ws, Tensor) else type(ws).__name__
        raise InvalidInputError(f"{_OP}: ws must be a tensor [N, num_ws, w_dim], got {got}")
    if ws.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise InvalidInputError(f"{_OP}: ws must be float32, float64, float16 or bfloat16, got {ws.dtype}")
    samples, _, w_dim = ws.shape
    check_slots(_OP, index, ws)
    slots = index.shape[0]
    if not isinstance(latent_weight, Tensor) or latent_weight.dim() != 3:
        raise InvalidInputError(f"{_OP}: latent_weight must be a tensor [S, w_dim, width]")
    width = latent_weight.shape[2]
    layers = hidden_weight.shape[0] if isinstance(hidden_weight, Tensor) and hidden_weight.dim() == 4 else 0
    directions = direction.shape[0] if isinstance(direction, Tensor) and direction.dim() == 4 else 1
    if directions not in (1, samples):
        raise InvalidInputError(f"{_OP}: direction must be for one sample or for {samples}, got {directions}")
    for name, t, shape, says in (
        ("alpha", alpha, (samples,), "[N]"),
        ("direction", direction, (directions, 2, slots, width), "[N or 1, 2, S, width]"),
        ("mean", mean, (slots, w_dim), "[S, w_dim]"),
        ("scale", scale, (), "[]"),
        ("latent_weight", latent_weight, (slots, w_dim, width), "[S, w_dim, width]"),
        ("latent_bias", latent_bias, (slots, width), "[S, width]"),
        ("hidden_weight", hidden_weight, (layers, slots, width, width), "[layers - 1, S, width, width]"),
        ("hidden_bias", hidden_bias, (layers, slots, width), "[layers - 1, S, width]"),
        ("output_weight", output_weight, (slots, width, w_dim), "[S, width, w_dim]"),
    ):
        check_small(_OP, name, t, ws, shape, says)
    check_optional(_OP, "output_bias", output_bias, ws, (slots, w_dim), "[S, w_dim]")
    if mean.requires_grad or scale.requires_grad:
        raise InvalidInputError(f"{_OP}: mean and scale are constants and must not require a gradient")


def _fake(ws: Tensor, *_: Any) -> Tensor:
    return torch.empty(ws.shape, dtype=ws.dtype, device=ws.device)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    ws, alpha, direction, index, mean, scale, *layers, raw_bias = ctx.saved_tensors
    latent_weight, latent_bias, hidden_weight, hidden_bias, output_weight = layers
    old = ws[:, index].to(alpha.dtype)  # [N, S, w_dim]
    latent = _embed(old, mean, scale, latent_weight, latent_bias)  # [S, N, width]
    grad_change = scale * grad[:, index].to(alpha.dtype).transpose(0, 1)  # [S, N, w_dim]
    grad_features = torch.bmm(grad_change, output_weight.transpose(1, 2))  # [S, N, width]
    grad_hidden_weight = [torch.zeros_like(weight) for weight in hidden_weight]
    grad_hidden_bias = [torch.zeros_like(bias) for bias in hidden_bias]

    def through(x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """The last hidden layer of `x`, and the gradient for `x` of the gradient `g` for that layer."""
        kept = [F.leaky_relu(x, _SLOPE)]
        for weight, bias in zip(hidden_weight, hidden_bias, strict=True):
            kept.append(F.leaky_relu(torch.bmm(kept[-1], weight) + bias[:, None], _SLOPE))
        for k in range(len(hidden_weight) - 1, -1, -1):
            g = torch.where(kept[k + 1] > 0, g, _SLOPE * g)
            grad_hidden_weight[k] = grad_hidden_weight[k] + torch.bmm(kept[k].transpose(1, 2), g)
            grad_hidden_bias[k] = grad_hidden_bias[k] + g.sum(1)
            g = torch.bmm(g, hidden_weight[k].transpose(1, 2))
        return kept[-1], torch.where(kept[0] > 0, g, _SLOPE * g)

    features, grad_code = through(latent + _code(alpha, direction), grad_features)
    grad_latent = grad_code  # [S, N, width]
    if raw_bias is None:
        rest, grad_rest = through(latent, -grad_features)
        features, grad_latent = features - rest, grad_latent + grad_rest
    grad_input = torch.bmm(grad_latent, latent_weight.transpose(1, 2)).transpose(0, 1) / scale  # [N, S, w_dim]
    grad_ws = grad.index_copy(1, index, (grad[:, index].to(alpha.dtype) + grad_input).to(grad.dtype))
    grad_code = grad_code.transpose(0, 1)  # [N, S, width]
    negative = (alpha < 0)[:, None, None]  # [N, 1, 1]
    chosen = torch.where(negative, -direction[:, 1], direction[:, 0])  # [N, S, width]
    grad_alpha = (grad_code * chosen).sum((1, 2))  # [N]
    scaled = alpha.abs()[:, None, None] * grad_code  # [N, S, width]
    zero = torch.zeros_like(scaled)
    grad_direction = torch.stack([torch.where(negative, zero, scaled), torch.where(negative, scaled, zero)], 1)
    if direction.shape[0] != alpha.shape[0]:
        grad_direction = grad_direction.sum(0, keepdim=True)  # [1, 2, S, width]
    normalised = ((old - mean) / scale).transpose(0, 1)  # [S, N, w_dim]
    return (
        grad_ws,
        grad_alpha,
        grad_direction,
        None,
        None,
        None,
        torch.bmm(normalised.transpose(1, 2), grad_latent),
        grad_latent.sum(1),
        torch.stack(grad_hidden_weight) if grad_hidden_weight else torch.zeros_like(hidden_weight),
        torch.stack(grad_hidden_bias) if grad_hidden_bias else torch.zeros_like(hidden_bias),
        torch.bmm(features.transpose(1, 2), grad_change),
        None if raw_bias is None else grad_change.sum(1),
    )


register("delta_edit", fake=_fake, backward=_backward, setup_context=_setup_context)
