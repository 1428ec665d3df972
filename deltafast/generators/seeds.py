"""Faces by number: the W+ latents of a seed, as StyleGAN users count them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from deltafast.arguments import check_generator
from deltafast.errors import InvalidInputError
from deltafast.generators.base import Generator

__all__ = ["latents_from_seeds"]


def latents_from_seeds(generator: Generator, seeds: Iterable[int], truncation_psi: float = 1.0) -> Tensor:
    """Return the W+ latents `[N, num_ws, w_dim]`, fp32, of N seeds (0 .. 2³² - 1), one face each.

    A seed's z is that of StyleGAN's own scripts, `numpy.random.RandomState(seed).randn(1, z_dim)`, so seed 17 is the
    same face whatever else is in the batch. Raises `InvalidInputError` for a seed out of range.
    """
    check_generator(generator)
    numbers = [int(seed) for seed in seeds]
    wrong = [seed for seed in numbers if not 0 <= seed < 2**32]
    if wrong:
        raise InvalidInputError(f"seeds are whole numbers from 0 to 2^32 - 1, got {wrong[0]}")
    z = np.empty((len(numbers), generator.z_dim), dtype=np.float32)  # [N, z_dim]
    for row, seed in enumerate(numbers):
        z[row] = np.random.RandomState(seed).randn(1, generator.z_dim)[0]
    with torch.no_grad():
        # one at a time: a product's rounding may depend on the batch, and a seed must not
        rows = [
            generator.mapping(torch.from_numpy(row[None]).to(generator.device), truncation_psi=truncation_psi)
            for row in z
        ]
    if not rows:
        return torch.empty(0, generator.num_ws, generator.w_dim, device=generator.device)
    return torch.cat(rows)
