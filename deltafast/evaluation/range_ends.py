"""Faces at the end of an attribute's range: a mouth that is shut cannot be shut further.

The rule, fixed before any report was made with it: a face is at the end where its unedited reading lies within one
deviation of repeated readings (`python -m benchmarks.repeated_readings`) of the outermost reading of all faces; of
these at most a fifth of all faces, the outermost first, are set aside. They are counted and listed, and monotony is
shown with and without them; every other figure keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.evaluation.changes import READING_DEVIATION
from deltafast.evaluation.edit_curves import EditCurves
from deltafast.evaluation.statistics import bootstrap_mean
from deltafast.faces.attributes import TARGET_MEASURES

__all__ = ["MAX_SHARE", "RANGE_ENDS", "faces_at_end", "range_end_table"]

RANGE_ENDS = {"mouth-open": -1}  # attribute -> the sign of alpha in which its range ends
MAX_SHARE = 0.2


def faces_at_end(attribute: str, unedited: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which of N faces are at the end of an attribute's range, by their target measure `[N]`, alpha > 0 raises.

    None are of an attribute whose range has no end here, and none where nothing was measured.
    """
    if attribute not in RANGE_ENDS:
        return np.zeros(len(unedited), dtype=bool)
    inwards = -RANGE_ENDS[attribute] * unedited  # [N], smallest at the end
    with np.errstate(invalid="ignore"):
        away = inwards - (np.nanmin(inwards) if np.isfinite(inwards).any() else np.nan)
        near = away <= READING_DEVIATION[TARGET_MEASURES[attribute][0]]
    allowed = np.argsort(np.where(near, away, np.inf), kind="stable")[: int(MAX_SHARE * len(unedited))]
    chosen = np.zeros(len(unedited), dtype=bool)
    chosen[allowed] = near[allowed]
    return chosen


def range_end_table(curves: Mapping[str, EditCurves], ours: str, labels: Sequence[str]) -> dict[str, Any] | None:
    """Return how many and which faces are at the end, and each method's monotony without them, as JSON values.

    None of an attribute whose range has no end here.
    """
    base = curves[ours]
    if base.attribute not in RANGE_ENDS:
        return None
    at_end = faces_at_end(base.attribute, base.target()[:, base.zero])  # [N]
    return {
        "faces": [label for label, here in zip(labels, at_end, strict=True) if here],
        "share": float(at_end.mean()) if len(at_end) else None,
        "monotone_of_others": {name: _monotone(own, ~at_end) for name, own in curves.items()},
    }


def _monotone(curves: EditCurves, kept: NDArray[np.bool_]) -> dict[str, Any]:
    target = curves.target()[kept]  # [N, 5]
    with np.errstate(invalid="ignore"):
        rising = np.where(np.isfinite(target).all(axis=1), (np.diff(target, axis=1) > 0).all(axis=1), np.nan)
    return bootstrap_mean(rising).as_json()
