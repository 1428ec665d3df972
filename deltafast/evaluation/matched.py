"""Costs of several editors of one attribute where all have changed each face by the same amount.

A method that does nothing keeps every identity, so costs are compared at matched change. For each face and each
direction the amount is the smallest of the editors' reaches; each editor's costs there are found by linear
interpolation along its alphas. A face's cost is the mean over its directions; faces are the bootstrap's unit. An editor
that reaches less than three quarters as far as the reference is left out, and named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError
from deltafast.evaluation.edit_curves import EditCurves, reach
from deltafast.evaluation.statistics import at_change
from deltafast.faces.attributes import MEASURES, TARGET_MEASURES

__all__ = ["ALONG", "IDENTITY_COSINE", "IDENTITY_DISTANCE", "LEAK", "Matched", "along_the_way", "match_editors"]

Array = NDArray[np.float64]

IDENTITY_DISTANCE = "identity_distance"
IDENTITY_COSINE = "identity_cosine"
LEAK = "leak"
ALONG = (0.25, 0.5, 0.75, 1.0)  # of the matched change: where identity is read along an edit sequence
_MIN_SHARE = 0.25  # of the measure's standard deviation over faces: the least change at which costs are compared
_MIN_REACH = 0.75  # of the reference's mean reach


@dataclass(frozen=True)
class Matched:
    """Costs at matched change.

    `methods`: those compared; `left_out`: those that do not reach far enough; `levels` `[N, 2]`: the change matched at,
    for alpha < 0 and > 0, NaN where a face could not be, and `level` `[N]` their mean; `faces_each_way`: how many faces
    were matched at alpha < 0 and > 0; `costs[method][cost]` `[N]`: descriptor distance and cosine to the unedited face,
    the absolute change of every other measure, and `LEAK`, their sum in standard deviations over unedited faces;
    `along[method][name]` `[N]`: distance and cosine on average over `ALONG`; `spread`: each measure's standard
    deviation over unedited faces; `reached`: of every method, left out or not, the share of faces and directions that
    it brings as far as the reference brings faces on average at |alpha| <= 1.
    """

    attribute: str
    methods: tuple[str, ...]
    left_out: tuple[str, ...]
    levels: Array
    level: Array
    faces_each_way: tuple[int, int]
    costs: dict[str, dict[str, Array]]
    along: dict[str, dict[str, Array]]
    spread: dict[str, float]
    reached: dict[str, float]

    def leak_per_unit(self, method: str, cost: str) -> Array:
        """Return each face's change `[N]` of a measure not asked for, per unit of the target's change.

        For `LEAK` both are counted in standard deviations over unedited faces.
        """
        unit = self.spread[TARGET_MEASURES[self.attribute][0]] if cost == LEAK else 1.0
        return np.asarray(self.costs[method][cost] * unit / self.level)


def match_editors(curves: Mapping[str, EditCurves], reference: str) -> Matched:
    """Match all editors, the curves' names, with the reference; see above.

    Raises `InvalidInputError` where attributes or faces differ.
    """
    base = curves[reference]
    if any(c.attribute != base.attribute or len(c.target()) != len(base.target()) for c in curves.values()):
        raise InvalidInputError("editors are compared on the same attribute and the same faces")
    target_name = TARGET_MEASURES[base.attribute][0]
    spread = {name: _spread(base.measure(name)[:, base.zero]) for name in MEASURES}
    least = _MIN_SHARE * spread[target_name]
    reaches = {name: np.stack([reach(c, d) for d in (-1, 1)], axis=1) for name, c in curves.items()}  # [N, 2]
    wanted = _MIN_REACH * _mean(reaches[reference])
    kept = [name for name in curves if name == reference or _mean(reaches[name]) >= wanted]
    levels = np.min([reaches[name] for name in kept], axis=0)  # [N, 2]; NaN stays NaN
    with np.errstate(invalid="ignore"):
        levels = np.where(levels >= least, levels, np.nan)
    costs: dict[str, dict[str, Array]] = {}
    along: dict[str, dict[str, Array]] = {}
    for name in kept:
        table = _costs(curves[name], spread)
        costs[name] = {cost: _at(curves[name], values, levels) for cost, values in table.items()}
        along[name] = {
            cost: np.mean([_at(curves[name], table[cost], share * levels) for share in ALONG], axis=0)
            for cost in (IDENTITY_DISTANCE, IDENTITY_COSINE)
        }
    low, high = (int(np.isfinite(column).sum()) for column in levels.T)
    left_out = tuple(name for name in curves if name not in kept)
    far = np.array([_mean(reach(base, direction, 1.0)) for direction in (-1, 1)])  # [2]
    there = {name: reaches[name][np.isfinite(reaches[name])] for name in curves}
    with np.errstate(invalid="ignore"):
        reached = {name: float((reaches[name] >= far).sum() / max(1, len(there[name]))) for name in curves}
    return Matched(
        base.attribute, tuple(kept), left_out, levels, _face_means(levels), (low, high), costs, along, spread, reached
    )


def along_the_way(curves: EditCurves, matched: Matched, shares: Array, cost: str) -> tuple[Array, Array]:
    """Return the mean change `[S]` and each face's cost `[S, N]` at some shares `[S]` of the matched change."""
    values = _costs(curves, matched.spread)[cost]
    level = float(np.nanmean(matched.level)) if np.isfinite(matched.level).any() else float("nan")
    return shares * level, np.array([_at(curves, values, share * matched.levels) for share in shares])


def _costs(curves: EditCurves, spread: dict[str, float]) -> dict[str, Array]:
    """Return each cost `[N, K]`."""
    target_name = TARGET_MEASURES[curves.attribute][0]
    table = {IDENTITY_DISTANCE: curves.distance(), IDENTITY_COSINE: curves.cosine()}
    leak = np.zeros_like(table[IDENTITY_DISTANCE])
    for name in MEASURES:
        if name != target_name:
            values = curves.measure(name)
            table[name] = np.abs(values - values[:, [curves.zero]])
            leak = leak + table[name] / spread[name]
    return {**table, LEAK: leak}


def _at(curves: EditCurves, cost: Array, levels: Array) -> Array:
    """Return each face's cost `[N]` where its change reaches `levels` `[N, 2]`, the mean over directions."""
    found = np.full(levels.shape, np.nan)
    change = curves.target_change()  # [N, K]
    for column, direction in enumerate((-1, 1)):
        order = curves.outwards(direction)
        for row in np.flatnonzero(np.isfinite(levels[:, column])):
            found[row, column] = at_change(direction * change[row, order], cost[row, order], levels[row, column])
    return _face_means(found)


def _face_means(values: Array) -> Array:
    """Mean over directions `[N, 2]` -> `[N]`, of those that are there."""
    there = np.isfinite(values)
    count = there.sum(axis=1)  # [N]
    total = np.where(there, values, 0.0).sum(axis=1)  # [N]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean(values: Array) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else 0.0


def _spread(values: Array) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.std()) if len(kept) > 1 and kept.std() > 0 else float("nan")
