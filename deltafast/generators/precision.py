"""Modules whose parameters stay in full precision when the generator around them is cast to fp16 or bf16."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deltafast.arguments import PlacedModule

__all__ = ["LOW_PRECISION", "FullPrecisionModule"]

LOW_PRECISION = (torch.float16, torch.bfloat16)


class FullPrecisionModule(PlacedModule):
    """A module that follows `.to()` to another device or to float64, but never drops below float32.

    Mapping, affine layers, biases and noise are small beside the convolutions and cost accuracy where they are
    rounded, so a half-precision generator keeps them in fp32 and casts only its convolutions.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FullPrecisionModule:
        def keep(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            if result.dtype in LOW_PRECISION and tensor.dtype not in LOW_PRECISION:
                return tensor.to(device=result.device)
            return result

        super()._apply(keep, recurse)  # type: ignore[no-untyped-call]
        return self
