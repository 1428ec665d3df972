"""Precision: the target attribute against alpha, read off the image, and what was requested beside what was got."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.evaluation.edit_curves import ALPHAS, EditCurves
from deltafast.evaluation.statistics import bootstrap_mean, slope_and_r2
from deltafast.evaluation.synthetic_reference import SyntheticChange
from deltafast.faces.attributes import MEASURES, TARGET_MEASURES

__all__ = ["precision", "requested_and_got"]

Array = NDArray[np.float64]


def precision(curves: EditCurves) -> dict[str, Any]:
    """Return an editor's figures over the grid `ALPHAS`, as JSON values: slope, monotony, R², change, identity at 1."""
    name = TARGET_MEASURES[curves.attribute][0]
    target, distance, cosine = curves.target(), curves.distance(), curves.cosine()  # [N, 5]
    slope, r2 = slope_and_r2(np.array(ALPHAS), target)
    with np.errstate(invalid="ignore"):
        monotone = np.where(np.isnan(target[:, curves.zero]), np.nan, (np.diff(target, axis=1) > 0).all(axis=1))
    total = bootstrap_mean(target[:, -1] - target[:, 0])
    unedited = _mean(target[:, curves.zero])
    return {
        "measure": name,
        "unit": MEASURES[name],
        "alphas": list(ALPHAS),
        "faces": len(target),
        "images_without_face": curves.readings.missing,
        "unedited_mean": unedited,
        "target_mean": [_mean(column) for column in target.T],
        "slope": bootstrap_mean(slope).as_json(),
        "monotone": bootstrap_mean(monotone).as_json(),
        "r2": bootstrap_mean(r2).as_json(),
        "total_change": total.as_json(),
        "distance_at_1": bootstrap_mean((distance[:, 0] + distance[:, -1]) / 2).as_json(),
        "cosine_at_1": bootstrap_mean((cosine[:, 0] + cosine[:, -1]) / 2).as_json(),
    }


def requested_and_got(
    curves: EditCurves, reference: SyntheticChange, value_range: tuple[float, float], scale: float = 1.0
) -> dict[str, Any]:
    """Compare the change that was requested of an editor with the one that is seen, as JSON values.

    alpha means the attribute's value `value_range[0] + scale * alpha * (value_range[1] - value_range[0])`, in the unit
    of the rendered frames; `requested` is the change of the measure that this means (`SyntheticChange.requested`) and
    `on_heads` what is read of the rendered heads there. One row for each alpha of the grid `ALPHAS` whose value was
    rendered, with the mean change got and the mean absolute error over faces; `error` is that error over all rows, each
    face's mean first.
    """
    change = curves.target_change()  # [N, 5]
    neutral, end = value_range
    rows: list[dict[str, Any]] = []
    errors = []
    for k, alpha in enumerate(ALPHAS):
        value = neutral + scale * alpha * (end - neutral)
        requested = reference.requested(value)
        if alpha == 0 or not np.isfinite(requested):
            continue
        error = np.abs(change[:, k] - requested)  # [N]
        errors.append(error)
        on_heads = reference.read(value)
        rows.append(
            {
                "alpha": alpha,
                "value": value,
                "requested": requested,
                "on_heads": on_heads if np.isfinite(on_heads) else None,
                "got": bootstrap_mean(change[:, k]).as_json(),
                "error": bootstrap_mean(error).as_json(),
            }
        )
    return {
        "value_unit": reference.unit,
        "unit": MEASURES[TARGET_MEASURES[curves.attribute][0]],
        "rows": rows,
        "error": bootstrap_mean(np.mean(errors, axis=0)).as_json() if errors else None,
    }


def _mean(values: Array) -> float | None:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else None
