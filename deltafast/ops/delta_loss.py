"""The loss of a training step of E and D with its noise, forward and backward in one op."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.errors import InvalidInputError
from deltafast.ops._arguments import accumulation_dtype
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register, second_order
from deltafast.ops.delta_weights import DeltaSizes, split_weights, weight_count
from deltafast.ops.philox import check_noise_key, philox_normal_reference

__all__ = ["delta_loss", "delta_loss_reference"]

_OP = "delta_loss"


def delta_loss(
    x: Tensor,
    first: Tensor,
    second: Tensor,
    weights: Tensor,
    *,
    width: int,
    dim: int,
    layers: int = 1,
    seed: Tensor,
    step: Tensor,
    first_sample: Tensor,
    noise_encoder: float = 0.0,
    noise_decoder: float = 0.0,
    lambda_a: float = 1.0,
    lambda_b: float = 1.0,
    impl: Impl = "auto",
) -> Tensor:
    """Return λ1·‖a_j − â_j‖² + λ2·‖b_j − b̂_j‖², averaged over components, pairs of identities and all (i, j), i ≠ j.

    With a = x[:, first[p]], b = x[:, second[p]], Δ_ij = E(a_i + n_a, a_j + n_a): b̂_j = D(b_i + n_b, Δ_ij) + b_i and
    â_j = D(a_i + n_b, Δ_ij) + a_i (Delta-GAN-Encoder, arXiv 2111.08419); one n_a and one n_b for each p. E and D are
    MLPs of their own for each slot with leaky ReLUs of slope 0.2 (`deltafast.delta.networks`).

    Args, all on one device:

    - `x`: normalised latents `[S, K, n, w_dim]`, K identities with n ≥ 2 frames; float32, float64, float16 or
      bfloat16; a constant, so it must not require a gradient.
    - `first`, `second`: int64 `[P]`, P ≥ 1 pairs of identities, 0 to K - 1. (On CUDA an index out of range gives NaN.)
    - `weights`: all weights of E and D, flat, as `deltafast.ops.weight_shapes` lists them; float32 (float64 for float64
      x). `width`, `layers`, `dim`: sizes of E and D.
    - `seed`, `step`, `first_sample`: int64 `[]`. The noise is `philox_normal`'s of sample first_sample + p with S·w_dim
      elements, slot-major: n_a from stream 0, n_b from stream 1, times `noise_encoder` and `noise_decoder`.
    - `impl`: "auto", "native" or "reference".

    Result: a scalar of the weights' dtype. It never builds the changes `[S, P, n (n - 1), w_dim]` that D predicts, but
    follows their squares through W·Wᵀ of D's last layer. The native gradient for the weights is computed with the loss,
    and a backward pass with create_graph=True raises `NativeOpError` (impl="reference" can be differentiated any number
    of times).
    Raises `InvalidInputError` for wrong shapes, dtypes, devices or values, and `NativeOpError` where impl="native" has
    no kernel.
    """
    sizes = _check(x, first, second, weights, width, layers, dim)
    check_noise_key(_OP, seed, step, first_sample, x.device)
    for name, value in (("noise_encoder", noise_encoder), ("noise_decoder", noise_decoder)):
        if not 0.0 <= value < math.inf:
            raise InvalidInputError(f"{_OP}: {name} must be finite and not negative, got {value}")
    for name, value in (("lambda_a", lambda_a), ("lambda_b", lambda_b)):
        if not abs(value) < math.inf:
            raise InvalidInputError(f"{_OP}: {name} must be finite, got {value}")
    if not runs_natively(_OP, x, impl):
        return delta_loss_reference(
            x,
            first,
            second,
            weights,
            sizes=sizes,
            seed=seed,
            step=step,
            first_sample=first_sample,
            noise_encoder=noise_encoder,
            noise_decoder=noise_decoder,
            lambda_a=lambda_a,
            lambda_b=lambda_b,
        )
    loss: Tensor = torch.ops.deltafast.delta_loss(
        x,
        first,
        second,
        weights,
        seed,
        step,
        first_sample,
        width,
        layers,
        dim,
        float(noise_encoder),
        float(noise_decoder),
        float(lambda_a),
        float(lambda_b),
    )[0]
    return loss  # []


def delta_loss_reference(
    x: Tensor,
    first: Tensor,
    second: Tensor,
    weights: Tensor,
    *,
    sizes: DeltaSizes,
    seed: Tensor,
    step: Tensor,
    first_sample: Tensor,
    noise_encoder: float = 0.0,
    noise_decoder: float = 0.0,
    lambda_a: float = 1.0,
    lambda_b: float = 1.0,
) -> Tensor:
    """Compute `delta_loss` in plain torch: the same arguments and result, any number of gradients.

    Raises what torch raises; it checks nothing.
    """
    slots, _, frames, w_dim = x.shape
    pairs = len(first)
    named = split_weights(weights, sizes)
    i, j = _frame_pairs(frames, x.device)  # [Q] each

    def noise(stream: int, scale: float) -> Tensor:
        key = {"seed": seed, "step": step, "first_sample": first_sample}
        drawn = philox_normal_reference(pairs, slots * w_dim, stream=stream, **key)  # [P, S w_dim]
        drawn = drawn.reshape(pairs, slots, 1, w_dim).transpose(0, 1).to(weights.dtype)
        return scale * drawn  # [S, P, 1, w_dim]

    def linear(layer: str, value: Tensor) -> Tensor:  # [S, P, rows, inputs] -> [S, P, rows, outputs]
        flat = torch.bmm(value.flatten(1, 2), named[f"{layer}.weight"])
        if f"{layer}.bias" in named:
            flat = flat + named[f"{layer}.bias"]
        return flat.reshape(slots, pairs, -1, flat.shape[-1])

    def hidden(network: str, value: Tensor) -> Tensor:
        value = F.leaky_relu(value, 0.2)
        for k in range(sizes.layers - 1):
            value = F.leaky_relu(linear(f"{network}.hidden.{k}", value), 0.2)
        return value

    a, b = (x[:, index].to(weights.dtype) for index in (first, second))  # [S, P, n, w_dim] each
    noisy = a + noise(0, noise_encoder)
    between = linear("encoder.source", noisy)[:, :, i] + linear("encoder.target", noisy)[:, :, j]  # [S, P, Q, width]
    code = linear("decoder.code", linear("encoder.output", hidden("encoder", between)))  # [S, P, Q, width]
    noise_b = noise(1, noise_decoder)

    def error(latents: Tensor) -> Tensor:
        latent = linear("decoder.latent", latents + noise_b)[:, :, i]  # [S, P, Q, width]
        change = linear("decoder.output", hidden("decoder", latent + code))  # [S, P, Q, w_dim]
        return F.mse_loss(change, latents[:, :, j] - latents[:, :, i])

    return lambda_a * error(a) + lambda_b * error(b)  # []


def _frame_pairs(frames: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """All ordered pairs (i, j), i ≠ j, of frames: two int64 `[frames * (frames - 1)]`."""
    row = torch.arange(frames * (frames - 1), device=device)
    i, j = row // (frames - 1), row % (frames - 1)
    return i, j + (j >= i)


def _check(x: Tensor, first: Tensor, second: Tensor, weights: Tensor, width: int, layers: int, dim: int) -> DeltaSizes:
    if not isinstance(x, Tensor) or x.dim() != 4 or x.numel() == 0 or x.shape[2] < 2:
        got = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise InvalidInputError(
            f"{_OP}: x must be a tensor [slots, identities, frames, w_dim], not empty and with two frames or more, got "
            f"{got}"
        )
    if x.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise InvalidInputError(f"{_OP}: x must be float32, float64, float16 or bfloat16, got {x.dtype}")
    if x.requires_grad:
        raise InvalidInputError(f"{_OP}: x is a constant and must not require a gradient; pass x.detach()")
    for name, size in (("width", width), ("layers", layers), ("dim", dim)):
        if isinstance(size, float) or size < 1:
            raise InvalidInputError(f"{_OP}: {name} must be a whole number of at least 1, got {size}")
    sizes = DeltaSizes(x.shape[0], x.shape[3], width, layers, dim)
    pairs = first.numel() if isinstance(first, Tensor) else 0
    for name, t, dtype, count, says in (
        ("first", first, torch.int64, max(pairs, 1), "[P], P at least 1"),
        ("second", second, torch.int64, max(pairs, 1), "[P], as many as first"),
        ("weights", weights, accumulation_dtype(x), weight_count(sizes), f"[{weight_count(sizes)}] for these sizes"),
    ):
        if not isinstance(t, Tensor) or t.dtype != dtype or tuple(t.shape) != (count,) or t.device != x.device:
            shown = f"{t.dtype} {list(t.shape)} on {t.device}" if isinstance(t, Tensor) else type(t).__name__
            raise InvalidInputError(f"{_OP}: {name} must be {dtype} {says} on {x.device}, got {shown}")
    return sizes


def _fake(x: Tensor, first: Tensor, second: Tensor, weights: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return weights.new_empty(()), weights.new_empty(weights.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Any, ...]:
    if torch.is_grad_enabled():  # create_graph=True: the result would be taken for a constant
        raise second_order(_OP)
    (gradients,) = ctx.saved_tensors  # [weights]
    return None, None, None, grad * gradients, *([None] * 10)


register("delta_loss", fake=_fake, backward=_backward, setup_context=_setup_context)
