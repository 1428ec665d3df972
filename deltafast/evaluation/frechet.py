"""Fréchet distance between two sets of feature vectors, and what few samples do to it.

d² = |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½) of the sets' means and covariances (Fréchet 1957; as "FID": Heusel et al.
2017, arXiv 1706.08500). Estimated from n samples it is too large, by an amount that falls like 1/n; the value at
n → ∞ is extrapolated from subsets (Chong and Forsyth 2020, arXiv 1911.07023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError

__all__ = ["FrechetEstimate", "frechet_distance", "frechet_estimate", "spread_around"]

Array = NDArray[np.float64]

_SUBSET_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)
_MIN_TO_EXTRAPOLATE = 16  # faces; with fewer the line has nothing to stand on


@dataclass(frozen=True)
class FrechetEstimate:
    """A Fréchet distance of `n` paired samples: as estimated, its interval, extrapolated to infinitely many.

    `draws` `[R]` are the bootstrap's own distances, for differences between two editors on the same draws;
    `extrapolated` is NaN for fewer than 16 samples.
    """

    distance: float
    low: float
    high: float
    extrapolated: float
    n: int
    draws: Array

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON values, None in place of NaN."""
        names = ("distance", "low", "high", "extrapolated", "n")
        return {name: None if (value := getattr(self, name)) != value else value for name in names}


def frechet_distance(first: Array, second: Array) -> float:
    """Return the squared Fréchet distance of two sets of features `[N, F]` and `[M, F]`; 0 for equal sets.

    With A and B the centred sets over √(n - 1), C1 = AᵀA and C2 = BᵀB, tr (C1 C2)^½ is the sum of the singular values
    of A Bᵀ: no matrix root, and as small as the fewer of samples and features. Raises `InvalidInputError` unless both
    have at least two rows and the same number of columns.
    """
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.ndim != 2 or two.ndim != 2 or one.shape[1] != two.shape[1] or min(len(one), len(two)) < 2:
        raise InvalidInputError(
            f"a Fréchet distance needs two sets [N, F] of at least two rows, got {list(one.shape)} and "
            f"{list(two.shape)}"
        )
    return _distance(one, two, np.ones(len(one)), np.ones(len(two)))


def frechet_estimate(
    first: Array, second: Array, *, resamples: int = 100, confidence: float = 0.95, seed: int = 0
) -> FrechetEstimate:
    """Estimate the distance between paired features `[N, F]`: row k of both belongs to one face.

    Faces are the bootstrap's unit. Drawing with replacement repeats faces, which shifts all draws as fewer faces would;
    the interval is therefore the spread of the draws about their own mean, laid around the estimate and cut off at 0.
    Rows with a NaN are left out of both. Deterministic in `seed`.
    """
    there = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    one, two = np.asarray(first, np.float64)[there], np.asarray(second, np.float64)[there]
    n = len(one)
    if n < 2:
        nan = float("nan")
        return FrechetEstimate(nan, nan, nan, nan, n, np.full(resamples, nan))
    rng = np.random.default_rng(seed)
    distance = frechet_distance(one, two)
    draws = np.empty(resamples)  # [R]
    for k in range(resamples):
        rows = rng.integers(0, n, n)
        times = np.bincount(rows, minlength=n).astype(np.float64)  # how often each face is drawn
        draws[k] = _distance(one, two, times, times)
    low, high = spread_around(distance, draws, confidence)
    extrapolated = _extrapolate(one, two, distance, rng)
    return FrechetEstimate(distance, max(0.0, low), high, extrapolated, n, draws)


def spread_around(estimate: float, draws: Array, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of `draws` `[R]` about their mean, laid around `estimate`."""
    low, high = np.quantile(draws - draws.mean(), [(1 - confidence) / 2, (1 + confidence) / 2])
    return estimate + float(low), estimate + float(high)


def _distance(one: Array, two: Array, times_one: Array, times_two: Array) -> float:
    """Return the distance where each row of `one` and `two` counts so many times; what counts 0 times costs nothing."""
    (mean_one, a), (mean_two, b) = _mean_and_factor(one, times_one), _mean_and_factor(two, times_two)
    between = mean_one - mean_two  # [F]
    shared = float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    return max(0.0, float(between @ between + (a**2).sum() + (b**2).sum() - 2 * shared))


def _mean_and_factor(rows: Array, times: Array) -> tuple[Array, Array]:
    """Return the mean `[F]` of `rows` `[N, F]` and R, at most as many rows as F, so that RᵀR is their covariance."""
    rows, times = rows[times > 0], times[times > 0]
    mean = times @ rows / times.sum()  # [F]
    centred = (rows - mean) * np.sqrt(times / (times.sum() - 1))[:, None]  # [N', F]
    return mean, centred if len(rows) <= rows.shape[1] else np.asarray(np.linalg.qr(centred, mode="r"))


def _extrapolate(one: Array, two: Array, whole: float, rng: np.random.Generator, repeats: int = 5) -> float:
    """Return where the distances of random subsets, as a line over 1/n, meet n = infinity."""
    n = len(one)
    if n < _MIN_TO_EXTRAPOLATE:
        return float("nan")
    sizes, values = [n], [whole]
    for share in _SUBSET_SHARES:
        size = round(share * n)
        subsets = [rng.permutation(n)[:size] for _ in range(repeats)]
        sizes.append(size)
        values.append(float(np.mean([frechet_distance(one[rows], two[rows]) for rows in subsets])))
    return max(0.0, float(np.polyfit(1.0 / np.array(sizes), values, 1)[1]))
