"""How far each editor goes for each sample: every form in which alpha, by or to may be given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltafast.errors import InvalidInputError

__all__ = ["Alphas", "read_alphas"]


@dataclass(frozen=True)
class Alphas:
    """α (or by, or to) of one editor for any samples: `values` `[1, K]`, or `[N, K]` where each has its own."""

    values: Tensor
    sweep: bool

    def rows(self, start: int, count: int) -> Tensor:
        """Return the alphas `[count, K]` of the samples from `start` on."""
        if len(self.values) == 1:
            return self.values.expand(count, -1)
        return self.values[start : start + count]


def read_alphas(given: list[Any], count: int | None, word: str = "alpha") -> list[Alphas]:
    """Read one alpha as given for each editor; `count` is the number of samples, None where it is not known.

    `word` is what errors call it. Raises `InvalidInputError` for what is no number, row or table of finite numbers of
    the right length.
    """
    result = [_read_one(alpha, count, word) for alpha in given]
    lengths = sorted({a.values.shape[1] for a in result if a.sweep})
    if len(lengths) > 1:
        raise InvalidInputError(f"sweeps over several editors must have equally many values of {word}, got {lengths}")
    return result


def _read_one(alpha: Any, count: int | None, word: str) -> Alphas:
    expected = "a number, one for each sample [N], or a sweep [1, K] or [N, K]"
    try:
        if isinstance(alpha, (str, bytes)):
            raise TypeError("text")
        if not isinstance(alpha, (Tensor, np.ndarray, int, float)):
            alpha = np.asarray(list(alpha), dtype=np.float64)
        given = torch.as_tensor(alpha).detach()
        if given.is_complex():
            raise TypeError("complex numbers")
        values = given.to("cpu", torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidInputError(f"{word} must be {expected}; got {alpha!r}") from error
    if not bool(torch.isfinite(values).all()):
        raise InvalidInputError(f"{word} holds NaN or infinity")
    if values.ndim == 0:
        return Alphas(values.reshape(1, 1), False)
    samples = "an unknown number of" if count is None else str(count)
    if values.ndim == 1 and count is not None and len(values) == count:
        return Alphas(values.reshape(-1, 1), False)
    if values.ndim == 1 and len(values) > 0:
        return Alphas(values.reshape(1, -1), True)
    if values.ndim == 2 and values.shape[1] > 0 and len(values) in ({1} if count is None else {1, count}):
        return Alphas(values, True)
    raise InvalidInputError(f"{word} must be {expected}; got shape {list(values.shape)} for {samples} samples")
