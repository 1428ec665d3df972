"""Table 2: how close the face's descriptor stays along an edit sequence, beside different people's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.evaluation.change_search import IDENTITY_COSINE, IDENTITY_DISTANCE
from deltafast.evaluation.matched import Matched, known_mean
from deltafast.evaluation.statistics import bootstrap_mean, bootstrap_ratio, compare_paired
from deltafast.evaluation.turn_floor import turn_floor
from deltafast.faces.comparison import identity_cosine, identity_distance

__all__ = ["between_faces", "group_identity", "identity_table"]

Array = NDArray[np.float64]


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


def identity_table(matched: Matched, ours: str) -> dict[str, Any]:
    """Return each method's identity figures at a matched change as JSON values, and how ours compares with it.

    `distance` and `cosine` of the descriptors; `beyond`, the distance less what a turn by the change costs by itself
    (`turn_floor`; nothing where the attribute is no turn). `ours_minus_this`: the difference of the distances, face by
    face, with the verdict on ours; `ratio`: of what is lost beyond the turn, ours / the method's, the upper end of
    whose interval is what may be claimed.
    """
    floor = turn_floor(matched.attribute, matched.change)
    table: dict[str, Any] = {}
    for method in matched.methods:
        costs = matched.costs[method]
        distance = costs[IDENTITY_DISTANCE]
        table[method] = {
            "cosine": bootstrap_mean(costs[IDENTITY_COSINE]).as_json(),
            "distance": bootstrap_mean(distance).as_json(),
            "beyond": bootstrap_mean(distance - floor).as_json(),
        }
        if method != ours:
            own = matched.costs[ours][IDENTITY_DISTANCE]
            difference, verdict = compare_paired(own, distance)
            ratio = bootstrap_ratio(own - floor, distance - floor)
            table[method] |= {"ours_minus_this": difference.as_json(), "ours_is": verdict, "ratio": ratio.as_json()}
    return table


def group_identity(matched: list[Matched], method: str) -> dict[str, Any] | None:
    """Return cosine and distance of a group of attributes (Light, Pose, Expression), over all their changes.

    Each face's mean over those that it is compared at; None where the method is missing from one of them.
    """
    if not matched or any(method not in one.methods for one in matched):
        return None
    rows = {cost: np.stack([one.costs[method][cost] for one in matched], axis=1) for cost in _COSTS}  # [N, M] each
    return {name: bootstrap_mean(known_mean(rows[cost])).as_json() for cost, name in _COSTS.items()}


_COSTS = {IDENTITY_COSINE: "cosine", IDENTITY_DISTANCE: "distance"}
