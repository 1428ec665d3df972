"""Small convolutions one sample at a time, so that a sample has the same bits whatever it is batched with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["by_small_sample"]

_SMALL_PRODUCTS = 9 << 23  # twice 512 to 512 channels by 3x3 at 4x4 pixels


def by_small_sample(compute: Callable[[Tensor], Tensor], x: Tensor, products: int) -> Tensor:
    """Return `compute(x)` of `x` `[N, ...]`, on a CPU in float32 as `compute` of every small sample, put together.

    `products`: multiplications a sample. oneDNN chooses its kernel, and with it the order of its sums, by the number of
    images, and by how they are aligned; below about this size, as far as that was measured (widths of 8 to 514
    channels at 4x4 to 256x256 pixels, forward and backward). Larger convolutions are given to it whole. torch.compile
    makes its own choices, and gets the whole.
    """
    small = x.device.type == "cpu" and x.dtype == torch.float32 and products <= _SMALL_PRODUCTS
    if not small or x.shape[0] == 0 or torch.compiler.is_compiling():
        return compute(x)
    # memory of their own: all aligned alike
    return torch.cat([compute(x.narrow(0, i, 1).clone()) for i in range(x.shape[0])])
