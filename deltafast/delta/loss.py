"""The paper's loss over all frame pairs of pairs of identities."""

from __future__ import annotations

import torch
from torch import Tensor

from deltafast.delta.networks import DeltaDecoder, DeltaEncoder

__all__ = ["frame_pairs", "paper_loss"]


def frame_pairs(frames: int) -> tuple[Tensor, Tensor]:
    """Return all ordered pairs (i, j), i ≠ j, of `frames` frames: two int64 `[frames * (frames - 1)]`."""
    i, j = torch.meshgrid(torch.arange(frames), torch.arange(frames), indexing="ij")  # [n, n]
    different = i != j
    return i[different], j[different]


def paper_loss(
    encoder: DeltaEncoder,
    decoder: DeltaDecoder,
    a: Tensor,
    b: Tensor,
    noise_a: Tensor,
    noise_b: Tensor,
    *,
    lambda_a: float = 1.0,
    lambda_b: float = 1.0,
) -> Tensor:
    """Return λ1·‖a_j − â_j‖² + λ2·‖b_j − b̂_j‖², averaged over components, pairs of identities and all (i, j), i ≠ j.

    With Δ_ij = E(a_i + n_a, a_j + n_a): b̂_j = D(b_i + n_b, Δ_ij) + b_i and â_j = D(a_i + n_b, Δ_ij) + a_i (Delta-GAN-
    Encoder, arXiv 2111.08419). Both directions are in it, as (i, j) and (j, i); both identities change places when
    the caller passes (a, b) and (b, a).

    Args: `a`, `b`: normalised latents `[S, P, n, w_dim]` of P pairs of identities, n frames each. `noise_a`,
    `noise_b`: `[S, P, 1, w_dim]`, one n_a and one n_b for each pair of identities, already scaled. Result: a scalar.
    """
    slots, pairs, frames, w_dim = a.shape
    i, j = frame_pairs(frames)

    def flat(x: Tensor) -> Tensor:
        return x.reshape(slots, pairs * frames, w_dim)

    def pick(x: Tensor, index: Tensor) -> Tensor:  # one embedding for each frame -> one for each frame pair
        x = x.reshape(slots, pairs, frames, -1)[:, :, index]  # [S, P, Q, width]
        return x.reshape(slots, pairs * len(index), -1)

    noisy = flat(a + noise_a)  # [S, P n, w_dim]
    delta = encoder.delta(pick(encoder.source(noisy), i), pick(encoder.target(noisy), j))  # [S, P Q, dim]
    code = decoder.code(delta)  # [S, P Q, width]

    def error(x: Tensor) -> Tensor:
        latent = decoder.latent(flat(x + noise_b))  # [S, P n, width]
        change = decoder.output(decoder.features(pick(latent, i), code))  # [S, P Q, w_dim]
        wanted = (x[:, :, j] - x[:, :, i]).reshape(change.shape)
        return torch.nn.functional.mse_loss(change, wanted)

    return lambda_a * error(a) + lambda_b * error(b)
