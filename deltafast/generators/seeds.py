"""Faces by number: the W+ latents of a seed, as StyleGAN users count them."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltafast.arguments import check_generator
from deltafast.errors import InvalidInputError
from deltafast.generators.base import Generator

__all__ = ["class_labels", "latents_from_seeds"]


def class_labels(generator: Generator, classes: Iterable[int] | None, count: int) -> Tensor | None:
    """Return the labels of N samples of a conditional generator, one-hot `[N, c_dim]`; None for an unconditional one.

    `classes` names the classes that are taken in turn, each 0 .. c_dim - 1; None takes all of them in turn. Raises
    `InvalidInputError` for a class that is not there.
    """
    if not generator.c_dim:
        if classes is not None:
            raise InvalidInputError(f"{generator.name} is not conditional: it has no classes to choose from")
        return None
    chosen = list(range(generator.c_dim) if classes is None else classes)
    if not chosen or not all(0 <= one < generator.c_dim for one in chosen):
        raise InvalidInputError(f"the classes of {generator.name} are 0 to {generator.c_dim - 1}, got {chosen}")
    rows = torch.tensor([chosen[k % len(chosen)] for k in range(count)], dtype=torch.long, device=generator.device)
    return torch.nn.functional.one_hot(rows, generator.c_dim).to(generator.code_dtype)


def latents_from_seeds(
    generator: Generator, seeds: Iterable[int], truncation_psi: float = 1.0, *, class_index: int | None = None
) -> Tensor:
    """Return the W+ latents of N seeds (0 .. 2³² - 1), one face each: `[N, num_ws, w_dim]` of `generator.code_dtype`.

    A seed's z is that of StyleGAN's own scripts, `numpy.random.RandomState(seed).randn(1, z_dim)`, so seed 17 is the
    same face whatever else is in the batch. A conditional generator needs `class_index`, the class of all of them.
    Raises `InvalidInputError` for a seed or a class out of range, and for a class that is missing or needless.
    """
    check_generator(generator)
    if generator.c_dim and class_index is None:
        raise InvalidInputError(
            f"{generator.name} is conditional: choose one of its classes, 0 to {generator.c_dim - 1}, with class_index "
            "(--class on the command line)"
        )
    label = class_labels(generator, None if class_index is None else [class_index], 1)  # [1, c_dim]
    numbers = [_whole(seed) for seed in seeds]
    z = np.empty((len(numbers), generator.z_dim), dtype=np.float32)  # [N, z_dim]
    for row, seed in enumerate(numbers):
        z[row] = np.random.RandomState(seed).randn(1, generator.z_dim)[0]
    with torch.no_grad():
        # one at a time: a product's rounding may depend on the batch, and a seed must not
        rows = [
            generator.mapping(torch.from_numpy(row[None]).to(generator.device), label, truncation_psi=truncation_psi)
            for row in z
        ]
    if not rows:
        empty = (0, generator.num_ws, generator.w_dim)
        return torch.empty(empty, device=generator.device, dtype=generator.code_dtype)
    return torch.cat(rows)


def _whole(seed: Any) -> int:
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**32:
        raise InvalidInputError(f"seeds are whole numbers from 0 to 2^32 - 1, got {seed!r}")
    return number
