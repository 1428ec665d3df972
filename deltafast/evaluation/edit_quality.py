"""How good an editor is: what it changes along alpha, what it costs, and how LINEAR does at the same change.

The comparison at matched change. A method that does nothing keeps every identity, so costs are compared where both
editors have changed the target measure of the same face by the same amount, in the same direction. Each editor is
read on a grid of alphas; where one falls short of the other on average, its grid is continued beyond |alpha| = 1.
For each face and direction the amount is the smaller of the two reaches, and each editor's costs there are found by
linear interpolation along its grid. A face's cost is the mean over its directions; faces are the bootstrap's unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.delta.editor import LatentEditor
from deltafast.errors import InvalidInputError
from deltafast.evaluation.attributes import MEASURES, TARGET_MEASURES, identity_cosine, identity_distance
from deltafast.evaluation.readings import FaceReader, Readings
from deltafast.evaluation.statistics import (
    at_change,
    bootstrap_mean,
    compare_paired,
    matched_change,
    monotone_share,
    slope_and_r2,
)

__all__ = [
    "ALPHAS",
    "EXTENDED",
    "EditCurves",
    "between_faces",
    "compare_at_matched_change",
    "extend_weaker",
    "read_edits",
    "summarise",
]

Array = NDArray[np.float64]

ALPHAS = (-1.0, -0.5, 0.0, 0.5, 1.0)
EXTENDED = (1.5, 2.0, 3.0)  # sizes of alpha that a weaker editor is read at as well
_LEAST_SHARE = 0.25  # of the measure's standard deviation over faces: the least change at which costs are compared


@dataclass(frozen=True)
class EditCurves:
    """Readings of N faces along K rising alphas, of which one is 0: `readings` laid out `[N, K]`."""

    attribute: str
    alphas: tuple[float, ...]
    readings: Readings

    @property
    def zero(self) -> int:
        """The index of alpha = 0."""
        return self.alphas.index(0.0)

    def measure(self, name: str) -> Array:
        """Return a measure's values `[N, K]`, the target measure signed so that the edit raises it."""
        target, sign = TARGET_MEASURES[self.attribute]
        return self.readings.measures[name] * (sign if name == target else 1.0)

    def target(self) -> Array:
        """Return the target measure `[N, K]`, rising with alpha where the edit works."""
        return self.measure(TARGET_MEASURES[self.attribute][0])

    def distance(self) -> Array:
        """Return the descriptors' distances to the unedited face, `[N, K]`."""
        return identity_distance(self.readings.descriptors, self.readings.descriptors[:, self.zero, None])

    def outwards(self, direction: int) -> list[int]:
        """Return the indices of alpha = 0 and of all alphas of the sign `direction`, by growing size."""
        chosen = [k for k, alpha in enumerate(self.alphas) if alpha * direction >= 0]
        return chosen if direction > 0 else chosen[::-1]

    def at(self, alphas: tuple[float, ...]) -> EditCurves:
        """Return the curves at some of their alphas."""
        index = [self.alphas.index(alpha) for alpha in alphas]
        r = self.readings
        measures = {name: values[:, index] for name, values in r.measures.items()}
        return EditCurves(self.attribute, alphas, Readings(measures, r.landmarks[:, index], r.descriptors[:, index]))

    def joined(self, other: EditCurves) -> EditCurves:
        """Return these curves with the alphas of `other` added, in rising order."""
        order = np.argsort(self.alphas + other.alphas)

        def join(one: Array, two: Array) -> Array:
            return np.asarray(np.concatenate([one, two], axis=1)[:, order])

        ours, theirs = self.readings, other.readings
        return EditCurves(
            self.attribute,
            tuple((self.alphas + other.alphas)[k] for k in order),
            Readings(
                {name: join(values, theirs.measures[name]) for name, values in ours.measures.items()},
                join(ours.landmarks, theirs.landmarks),
                join(ours.descriptors, theirs.descriptors),
            ),
        )


def read_edits(
    reader: FaceReader,
    editor: LatentEditor,
    attribute: str,
    latents: Tensor,
    alphas: tuple[float, ...] = ALPHAS,
    description: str = "",
) -> EditCurves:
    """Edit N faces `[N, num_ws, w_dim]` to each alpha, synthesise and measure them.

    Raises `InvalidInputError` for an attribute that has no measure.
    """
    if attribute not in TARGET_MEASURES:
        raise InvalidInputError(f"no measure for attribute {attribute!r}; there are {', '.join(TARGET_MEASURES)}")
    alphas = tuple(sorted(float(alpha) for alpha in alphas))
    with torch.inference_mode():
        edited = torch.stack([editor.edit(latents, alpha) for alpha in alphas], dim=1)  # [N, K, L, D]
    readings = reader.read(edited.flatten(0, 1), description)
    return EditCurves(attribute, alphas, readings.reshape(len(latents), len(alphas)))


def extend_weaker(ours: EditCurves, theirs: EditCurves) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the alphas at which ours, and theirs, must be read as well before they can be matched.

    In each direction the change to reach is the larger of the two editors' mean ones within |alpha| <= 1; an editor
    that is below 98 % of it is continued to the next of `EXTENDED`. Call again with the joined curves until both
    answers are empty.
    """
    more: tuple[list[float], list[float]] = ([], [])
    for direction in (-1, 1):
        wanted = 0.98 * max(_reach(curves, direction, 1.0) for curves in (ours, theirs))
        for which, curves in enumerate((ours, theirs)):
            done = max(abs(alpha) for alpha in curves.alphas if alpha * direction >= 0)
            left = [size for size in EXTENDED if size > done]
            if left and _reach(curves, direction, done) < wanted:
                more[which].append(direction * left[0])
    return tuple(sorted(more[0])), tuple(sorted(more[1]))


def summarise(curves: EditCurves) -> dict[str, Any]:
    """Return an editor's figures over the grid `ALPHAS`, as JSON values: change, monotony, identity, leaks."""
    curves = curves.at(ALPHAS)
    target_name, _ = TARGET_MEASURES[curves.attribute]
    target, distance = curves.target(), curves.distance()  # [N, 5]
    cosine = identity_cosine(curves.readings.descriptors, curves.readings.descriptors[:, curves.zero, None])
    slope, r2 = slope_and_r2(np.array(ALPHAS), target)
    total = target[:, -1] - target[:, 0]  # [N]
    result: dict[str, Any] = {
        "attribute": curves.attribute,
        "measure": target_name,
        "unit": MEASURES[target_name],
        "alphas": list(ALPHAS),
        "faces": len(target),
        "images_without_face": curves.readings.missing,
        "unedited_mean": _finite(np.nanmean(target[:, curves.zero])),
        "target_mean": [_finite(v) for v in np.nanmean(target, axis=0)],
        "monotone_share": monotone_share(target),
        "total_change": bootstrap_mean(total).as_json(),
        "slope": bootstrap_mean(slope).as_json(),
        "r2": bootstrap_mean(r2).as_json(),
        "identity_distance": [_finite(v) for v in np.nanmean(distance, axis=0)],
        "identity_distance_at_1": bootstrap_mean((distance[:, 0] + distance[:, -1]) / 2).as_json(),
        "identity_cosine_at_1": bootstrap_mean((cosine[:, 0] + cosine[:, -1]) / 2).as_json(),
        "leak": {},
    }
    moved = float(np.nanmean(np.abs(total)))
    for name in MEASURES:
        if name != target_name:
            other = curves.measure(name)
            drift = other[:, -1] - other[:, 0]  # [N]
            result["leak"][name] = {
                "unit": MEASURES[name],
                "total_change": bootstrap_mean(drift).as_json(),
                "per_unit_of_target": _finite(float(np.nanmean(np.abs(drift))) / moved),
            }
    return result


def compare_at_matched_change(ours: EditCurves, theirs: EditCurves) -> dict[str, Any]:
    """Compare the costs of two editors of one attribute where both have changed each face as much (see above).

    Costs: the descriptor's distance to the unedited face; the absolute change of every other measure; and their sum
    in standard deviations over unedited faces ("leak"). Each with both means, the interval of the paired difference
    and the verdict on ours. Raises `InvalidInputError` where attributes or faces differ.
    """
    if ours.attribute != theirs.attribute or len(ours.target()) != len(theirs.target()):
        raise InvalidInputError("editors are compared on the same attribute and the same faces")
    target_name, _ = TARGET_MEASURES[ours.attribute]
    spread = {name: float(np.nanstd(ours.measure(name)[:, ours.zero])) or float("nan") for name in MEASURES}
    costs = [_costs(curves, spread) for curves in (ours, theirs)]
    n = len(ours.target())
    levels = np.full((n, 2), np.nan)  # [N, directions]
    at_level = [{name: np.full((n, 2), np.nan) for name in costs[0]} for _ in costs]
    for column, direction in enumerate((-1, 1)):
        order = [curves.outwards(direction) for curves in (ours, theirs)]
        change = [
            direction * (curves.target()[:, index] - curves.target()[:, [curves.zero]])
            for curves, index in zip((ours, theirs), order, strict=True)
        ]  # [N, K], [N, M]
        levels[:, column] = matched_change(*change, least=_LEAST_SHARE * spread[target_name])
        for row in np.flatnonzero(np.isfinite(levels[:, column])):
            for which, table in enumerate(costs):
                for name, values in table.items():
                    cost = at_change(change[which][row], values[row, order[which]], levels[row, column])
                    at_level[which][name][row, column] = cost
    result: dict[str, Any] = {
        "alphas_ours": list(ours.alphas),
        "alphas_theirs": list(theirs.alphas),
        "target_change": bootstrap_mean(_face_means(levels)).as_json(),
        "faces_matched_each_way": [int(np.isfinite(levels[:, column]).sum()) for column in (0, 1)],
        "costs": {},
    }
    for name in costs[0]:
        one, two = (_face_means(table[name]) for table in at_level)  # [N]
        difference, verdict = compare_paired(one, two)
        result["costs"][name] = {
            "ours": bootstrap_mean(one).as_json(),
            "theirs": bootstrap_mean(two).as_json(),
            "difference": difference.as_json(),
            "verdict": verdict,
        }
    return result


def between_faces(descriptors: Array) -> dict[str, float]:
    """Return how far the descriptors `[N, 128]` of N different faces are from each other: mean, least, quantiles."""
    kept = descriptors[np.isfinite(descriptors[:, 0])]
    first, second = np.triu_indices(len(kept), 1)
    distance = identity_distance(kept[first], kept[second])
    cosine = identity_cosine(kept[first], kept[second])
    if len(distance) == 0:
        return {}
    return {
        "mean": float(distance.mean()),
        "least": float(distance.min()),
        "percentile_5": float(np.quantile(distance, 0.05)),
        "median": float(np.median(distance)),
        "cosine_mean": float(cosine.mean()),
        "cosine_most": float(cosine.max()),
    }


def _reach(curves: EditCurves, direction: int, most: float) -> float:
    """Return the largest change in a direction within |alpha| <= `most`, the mean over faces."""
    index = [k for k in curves.outwards(direction) if abs(curves.alphas[k]) <= most]
    change = direction * (curves.target()[:, index] - curves.target()[:, [curves.zero]])  # [N, K]
    return float(np.nanmean(np.nanmax(change, axis=1)))  # alpha = 0 gives 0, so no row is all NaN unless unmeasured


def _costs(curves: EditCurves, spread: dict[str, float]) -> dict[str, Array]:
    """Return each cost `[N, K]`: 0 at alpha = 0."""
    target_name, _ = TARGET_MEASURES[curves.attribute]
    table = {"identity_distance": curves.distance()}
    leak = np.zeros_like(table["identity_distance"])
    for name in MEASURES:
        if name != target_name:
            values = curves.measure(name)
            table[name] = np.abs(values - values[:, [curves.zero]])
            leak = leak + table[name] / spread[name]
    return {**table, "leak": leak}


def _face_means(values: Array) -> Array:
    """Mean over directions `[N, 2]` -> `[N]`, of those that are there."""
    there = np.isfinite(values)
    count = there.sum(axis=1)  # [N]
    total = np.where(there, values, 0.0).sum(axis=1)  # [N]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
