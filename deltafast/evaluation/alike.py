"""Unedited faces that have a pose, an expression or a light anyway: what edited ones should look like.

They are chosen by reading, from a pool of sampled faces: for each face and each change one whose measure is what the
edited face's is, each at most once. It is the same for every method, so that none is compared with faces of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["FacePool", "choose_alike"]

Array = NDArray[np.float64]

_NEAR = 0.25  # of the measure's standard deviation over the pool: how far a face that is alike may be off
_NEVER = 1e6


@dataclass(frozen=True)
class FacePool:
    """M sampled faces: `measures` `[M]` of each name, and what the feature networks say of them by key, `[M, F]`."""

    measures: dict[str, Array]
    features: dict[str, Array]


def choose_alike(wanted: Array, pool: Array, taken: NDArray[np.intp] | None = None) -> NDArray[np.intp]:
    """Return for each wanted value `[N]` the index of a face of the pool, values `[M]`, that has it; -1 for none.

    As many as possible, together as near as possible, none of the pool twice nor one of those `taken`. A face has a
    value where it is within a quarter of the pool's standard deviation of it. NaN on either side finds none.
    """
    result = np.full(len(wanted), -1)
    free = np.isfinite(pool)
    if taken is not None:
        free[taken[taken >= 0]] = False
    rows, columns = np.flatnonzero(np.isfinite(wanted)), np.flatnonzero(free)
    if not len(rows) or not len(columns):
        return result
    near = _NEAR * float(pool[np.isfinite(pool)].std())
    off = np.abs(wanted[rows, None] - pool[None, columns])  # [N', M']
    chosen = linear_sum_assignment(np.where(off <= near, off / max(near, 1e-300), _NEVER))
    for row, column in zip(*chosen, strict=True):
        if off[row, column] <= near:
            result[rows[row]] = columns[column]
    return result
