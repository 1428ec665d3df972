"""How the weights of E and D lie in one flat tensor; csrc/kernels/shared/delta_layout.h is the twin of this file."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

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
    s, c, width, dim = sizes.slots, sizes.w_dim, sizes.width, sizes.dim

    def hidden(network: str) -> dict[str, tuple[int, ...]]:
        return {
            f"{network}.hidden.{k}.{kind}": shape
            for k in range(sizes.layers - 1)
            for kind, shape in (("weight", (s, width, width)), ("bias", (s, 1, width)))
        }

    return {
        "encoder.source.weight": (s, c, width),
        "encoder.source.bias": (s, 1, width),
        "encoder.target.weight": (s, c, width),
        **hidden("encoder"),
        "encoder.output.weight": (s, width, dim),
        "encoder.output.bias": (s, 1, dim),
        "decoder.latent.weight": (s, c, width),
        "decoder.latent.bias": (s, 1, width),
        "decoder.code.weight": (s, dim, width),
        **hidden("decoder"),
        "decoder.output.weight": (s, width, c),
        "decoder.output.bias": (s, 1, c),
    }


def weight_count(sizes: DeltaSizes) -> int:
    """Return the number of elements of the flat tensor."""
    return sum(math.prod(shape) for shape in weight_shapes(sizes).values())


def split_weights(weights: Tensor, sizes: DeltaSizes) -> dict[str, Tensor]:
    """Return the flat tensor `[weight_count(sizes)]` as views by name."""
    shapes = weight_shapes(sizes)
    parts = torch.split(weights, [math.prod(shape) for shape in shapes.values()])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
