"""Figures over faces: bootstrap intervals, monotone shares, slopes, and two editors compared at equal change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError

__all__ = [
    "Interval",
    "at_change",
    "bootstrap_mean",
    "bootstrap_ratio",
    "compare_paired",
    "monotone_share",
    "slope_and_r2",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean over `n` faces and its bootstrap confidence interval from `low` to `high`."""

    mean: float
    low: float
    high: float
    n: int

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, None in place of NaN."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


def bootstrap_mean(values: Array, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of `values` `[N]` and its percentile bootstrap interval, faces being drawn with replacement.

    NaN are left out; with fewer than two values the interval is NaN. Deterministic in `seed`.
    """
    kept = np.asarray(values, dtype=np.float64)
    return _bootstrap((kept[np.isfinite(kept)],), np.mean, confidence, resamples, seed)


def bootstrap_ratio(
    ours: Array, theirs: Array, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Return the mean of `ours` over the mean of `theirs`, costs `[N]` of the same faces, and its interval.

    Faces are drawn, each with both of its costs, and left out where either is NaN; with fewer than two the interval is
    NaN, and so is everything where theirs cost nothing on average. Deterministic in `seed`.
    """
    there = np.isfinite(ours) & np.isfinite(theirs)
    one, two = (np.asarray(values, dtype=np.float64)[there] for values in (ours, theirs))
    if not (len(two) and two.mean() > 0):
        return Interval(float("nan"), float("nan"), float("nan"), len(two))
    return _bootstrap((one, two), _ratio_of_means, confidence, resamples, seed)


def compare_paired(ours: Array, theirs: Array, *, confidence: float = 0.95, seed: int = 0) -> tuple[Interval, str]:
    """Compare two costs `[N]` of the same faces: the interval of ours - theirs, and "better", "equal" or "worse".

    A lower cost is better; "equal" says that the interval holds 0 (or that there are fewer than two faces).
    """
    difference = bootstrap_mean(np.asarray(ours) - np.asarray(theirs), confidence=confidence, seed=seed)
    if difference.high < 0:
        return difference, "better"
    return difference, "worse" if difference.low > 0 else "equal"


def _bootstrap(
    samples: tuple[Array, ...], statistic: Callable[..., Array], confidence: float, resamples: int, seed: int
) -> Interval:
    """Return a statistic of samples that belong together row by row, and scipy's percentile interval."""
    from scipy.stats import bootstrap

    n = len(samples[0])
    point = float(statistic(*samples, axis=0)) if n else float("nan")
    if n < 2:
        return Interval(point, float("nan"), float("nan"), n)
    found = bootstrap(
        samples,
        statistic,
        paired=len(samples) > 1,
        vectorized=True,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(point, float(found.low), float(found.high), n)


def _ratio_of_means(ours: Array, theirs: Array, axis: int) -> Array:
    return np.asarray(ours.mean(axis=axis) / theirs.mean(axis=axis))


def monotone_share(values: Array) -> float:
    """Return the share of faces whose `values` `[N, K]` rise strictly from each alpha to the next.

    A face with a NaN counts as not monotone. Raises `InvalidInputError` for fewer than two alphas.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise InvalidInputError(f"monotony is judged on [faces, alphas], at least two alphas; got {list(table.shape)}")
    return float((np.diff(table, axis=1) > 0).all(axis=1).mean()) if len(table) else float("nan")


def slope_and_r2(alphas: Array, values: Array) -> tuple[Array, Array]:
    """Fit a line to each face's `values` `[N, K]` over `alphas` `[K]`: slopes `[N]` and R² `[N]`.

    Faces with a NaN give NaN; a face that never changes has R² of 1 (the line fits it).
    """
    x = np.asarray(alphas, dtype=np.float64) - np.mean(alphas)  # [K]
    y = np.asarray(values, dtype=np.float64)
    y = y - y.mean(axis=1, keepdims=True)  # [N, K]
    slope = y @ x / (x @ x)  # [N]
    total = (y**2).sum(axis=1)  # [N]
    left = ((y - slope[:, None] * x) ** 2).sum(axis=1)  # [N]
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(total == 0, 1.0, 1 - left / total)
    return slope, r2


def at_change(change: Array, cost: Array, level: float) -> float:
    """Return the cost at which an edit first reaches a target change, interpolating linearly along alpha.

    `change` and `cost` `[K]` belong to alphas of growing size in one direction, starting at alpha = 0; `level` lies
    in the direction of positive change (0 is the first alpha's). NaN where the level is never reached (or a NaN lies
    before it).
    """
    if level <= change[0]:
        return float(cost[0])
    for k in range(1, len(change)):
        if np.isnan(change[k - 1]) or np.isnan(change[k]):
            return float("nan")
        if change[k] >= level:
            share = (level - change[k - 1]) / (change[k] - change[k - 1])
            return float(cost[k - 1] + share * (cost[k] - cost[k - 1]))
    return float("nan")
