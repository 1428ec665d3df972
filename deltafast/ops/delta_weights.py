"""How the weights of E and D lie in one flat tensor, as csrc/kernels/shared/delta_layout.h says."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from deltafast.ops._library import _C

__all__ = ["DeltaSizes", "split_weights", "weight_count", "weight_shapes"]


class DeltaSizes(NamedTuple):
    """Sizes of E and D: W+ slots, components of a latent, hidden units, hidden layers, components of Δ."""

    slots: int
    w_dim: int
    width: int
    layers: int
    dim: int


def weight_shapes(sizes: DeltaSizes) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every weight, in the order in which the flat tensor holds them.

    A weight is `[slots, inputs, outputs]`, a bias `[slots, 1, outputs]`; the names are those of an editor's parameters.
    """
    return dict(_shapes(*sizes))


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _shapes(slots: int, w_dim: int, width: int, layers: int, dim: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple(_C.delta_weights(slots, w_dim, width, layers, dim))


def weight_count(sizes: DeltaSizes) -> int:
    """Return the number of elements of the flat tensor."""
    return sum(math.prod(shape) for shape in weight_shapes(sizes).values())


def split_weights(weights: Tensor, sizes: DeltaSizes) -> dict[str, Tensor]:
    """Return the flat tensor `[weight_count(sizes)]` as views by name."""
    shapes = weight_shapes(sizes)
    parts = torch.split(weights, [math.prod(shape) for shape in shapes.values()])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
