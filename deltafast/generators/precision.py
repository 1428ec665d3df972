"""Modules whose parameters stay in full precision when the generator around them is cast to fp16 or bf16."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from deltafast.arguments import PlacedModule
from deltafast.errors import InvalidInputError

__all__ = ["LOW_PRECISION", "FullPrecisionModule", "named_precision"]

LOW_PRECISION = (torch.float16, torch.bfloat16)
_NAMED = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def named_precision(name: str) -> torch.dtype:
    """Return the precision of convolutions that is called float32, float16 or bfloat16.

    Raises `InvalidInputError` for another name.
    """
    if name not in _NAMED:
        raise InvalidInputError(f"the precision must be one of {', '.join(_NAMED)}, got {name!r}")
    return _NAMED[name]


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
