"""Table 1: the Fréchet distance of edited to unedited images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.evaluation.frechet import FrechetEstimate, frechet_estimate, spread_around
from deltafast.evaluation.statistics import Interval

__all__ = ["realism_table", "unedited_halves"]

Array = NDArray[np.float64]


def realism_table(unedited: Array, edited: Mapping[str, tuple[Array, Array]], ours: str) -> dict[str, Any]:
    """Return each method's distance between unedited and edited images' features, as JSON values.

    `unedited` `[N, F]`; `edited[method]`: the same faces at alpha = -1 and at alpha = 1, `[N, F]` each. The figures are
    the means of the two directions. All methods share their bootstrap draws, so that `ours_minus_this` is paired.
    """
    estimates = {name: [frechet_estimate(unedited, side) for side in sides] for name, sides in edited.items()}
    table: dict[str, Any] = {}
    for name, sides in estimates.items():
        table[name] = {key: _mean([side.as_json()[key] for side in sides]) for key in _FIGURES}
        table[name]["n"] = sides[0].n
        if name != ours and ours in estimates:
            table[name] |= _difference(estimates[ours], sides)
    return table


def unedited_halves(unedited: Array, *, seed: int = 0) -> dict[str, Any]:
    """Return the distance between two random halves of the unedited faces: what few samples alone amount to."""
    order = np.random.default_rng(seed).permutation(len(unedited))
    half = len(order) // 2
    return frechet_estimate(unedited[order[:half]], unedited[order[half : 2 * half]]).as_json()


_FIGURES = ("distance", "low", "high", "extrapolated")


def _difference(ours: list[FrechetEstimate], theirs: list[FrechetEstimate]) -> dict[str, Any]:
    point = float(np.mean([one.distance - two.distance for one, two in zip(ours, theirs, strict=True)]))
    draws = np.mean([one.draws - two.draws for one, two in zip(ours, theirs, strict=True)], axis=0)  # [R]
    interval = Interval(point, *spread_around(point, draws), ours[0].n)
    verdict = "better" if interval.high < 0 else "worse" if interval.low > 0 else "equal"
    return {"ours_minus_this": interval.as_json(), "ours_is": verdict}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None
