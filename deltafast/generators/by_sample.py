"""Small products one sample at a time, so that a sample has the same bits whatever it is batched with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["by_sample"]


def by_sample(compute: Callable[[Tensor], Tensor], x: Tensor, dim: int = 0) -> Tensor:
    """Return `compute(x)`, on a CPU as `compute` of every part of length 1 along `dim`, put together.

    MKL and oneDNN choose kernels, and with them the order of their sums, by the number of rows or images, and by how
    these are aligned. The products of mapping, styles and demodulation, and a convolution at 4x4, are small beside a
    synthesis, and bound by reading the weights. torch.compile makes its own choices, and gets the whole.
    """
    if x.device.type != "cpu" or x.shape[dim] == 0 or torch.compiler.is_compiling():
        return compute(x)
    parts = [x.narrow(dim, i, 1).clone() for i in range(x.shape[dim])]  # memory of their own: all aligned alike
    return torch.cat([compute(part) for part in parts], dim)
