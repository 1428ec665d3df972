"""Realism at a change: the Fréchet distance of edited faces to faces that have that pose, expression or light anyway.

Beside it the distance to the same faces unedited, as the paper's Table 1 has it: that one grows with the change that
was asked for, however real the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.evaluation.frechet import FrechetEstimate, frechet_estimate, spread_around
from deltafast.evaluation.statistics import Interval

__all__ = ["WayFeatures", "realism_table", "unedited_halves"]

Array = NDArray[np.float64]

_MIN_FACES = 16  # each way; with fewer a covariance says nothing


@dataclass(frozen=True)
class WayFeatures:
    """Features of K faces edited one way, `[K, F]` each: `unedited`, and `edited` by method.

    `alike`: other faces that have it anyway, rows of NaN where the pool has none; `others`: chosen after those.
    """

    unedited: Array
    alike: Array
    others: Array
    edited: dict[str, Array]


def realism_table(ways: Sequence[WayFeatures], ours: str) -> dict[str, Any]:
    """Return each method's distances at a change as JSON values, the mean of both ways where there are enough faces.

    "alike" and "unedited": by method `distance` with its interval, `extrapolated` to infinitely many faces, and beside
    ours the difference, the verdict and `ratio`, ours / the method's, the upper end of whose interval is what may be
    claimed; all methods share faces and draws. `faces`: how many each way; `between_alike`: the distance between two
    choices of unedited faces that have it, what few faces alone amount to.
    """
    alike = [_complete(way.alike, way) for way in ways]
    between = [_complete(way.others, way) for way in alike]
    other = _against({k: (way.alike, {ours: way.others}) for k, way in enumerate(between)}, ours)
    return {
        "faces": {"alike": [len(way.alike) for way in alike], "unedited": [len(way.alike) for way in ways]},
        "alike": _against({k: (way.alike, way.edited) for k, way in enumerate(alike)}, ours),
        "unedited": _against({k: (way.unedited, way.edited) for k, way in enumerate(ways)}, ours),
        "between_alike": other.get(ours),
    }


def unedited_halves(unedited: Array, *, seed: int = 0) -> dict[str, Any]:
    """Return the distance between two random halves of the unedited faces: what few samples alone amount to."""
    order = np.random.default_rng(seed).permutation(len(unedited))
    half = len(order) // 2
    return frechet_estimate(unedited[order[:half]], unedited[order[half : 2 * half]]).as_json()


_FIGURES = ("distance", "low", "high", "extrapolated")


def _complete(chosen: Array, way: WayFeatures) -> WayFeatures:
    """Return a way's faces of which `chosen` `[K, F]` has a row."""
    there = np.isfinite(chosen).all(axis=1)
    edited = {name: rows[there] for name, rows in way.edited.items()}
    return WayFeatures(way.unedited[there], way.alike[there], way.others[there], edited)


def _against(sides: Mapping[int, tuple[Array, dict[str, Array]]], ours: str) -> dict[str, Any]:
    """Return each method's figures against the references of the sides that have enough faces; empty without any."""
    enough = [side for side in sides.values() if len(side[0]) >= _MIN_FACES]
    estimates = {
        name: [frechet_estimate(reference, edited[name]) for reference, edited in enough]
        for name in (enough[0][1] if enough else ())
    }
    table: dict[str, Any] = {}
    for name, found in estimates.items():
        table[name] = {key: _mean([side.as_json()[key] for side in found]) for key in _FIGURES}
        table[name]["n"] = sum(side.n for side in found)
        if name != ours and ours in estimates:
            table[name] |= _compared(estimates[ours], found)
    return table


def _compared(ours: list[FrechetEstimate], theirs: list[FrechetEstimate]) -> dict[str, Any]:
    """Return difference and ratio of two methods' distances, the mean over sides, from the draws that they share."""
    one, two = (float(np.mean([side.distance for side in sides])) for sides in (ours, theirs))
    own, other = (np.mean([side.draws for side in sides], axis=0) for sides in (ours, theirs))  # [R]
    n = sum(side.n for side in ours)
    difference = Interval(one - two, *spread_around(one - two, own - other), n)
    ratio = Interval(float("nan"), float("nan"), float("nan"), n)
    if min(one, two, own.min(), other.min()) > 0:
        low, high = np.exp(spread_around(float(np.log(one / two)), np.log(own / other)))
        ratio = Interval(one / two, float(low), float(high), n)
    verdict = "better" if difference.high < 0 else "worse" if difference.low > 0 else "equal"
    return {"ours_minus_this": difference.as_json(), "ours_is": verdict, "ratio": ratio.as_json()}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) and known else None
