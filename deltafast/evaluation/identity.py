"""Table 2: how close the face's descriptor stays along an edit sequence, beside different people's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.evaluation.matched import IDENTITY_COSINE, IDENTITY_DISTANCE, Matched
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
    """Return each method's identity figures as JSON values, and how ours compares with it.

    "along": mean over the sequence up to the matched change; "at_end": at the matched change. `difference` is that of
    ours - the method's distance at the end, face by face, with the verdict on ours; `ratio` ours / the method's, whose
    upper end is what may be claimed. Of turns also `turn_itself`, the distance that a turn by the matched change costs
    by itself (`turn_floor`), and `beyond_the_turn`, what an editor loses beyond it.
    """
    table: dict[str, Any] = {}
    for method in matched.methods:
        costs, along = matched.costs[method], matched.along[method]
        table[method] = {
            "cosine_along": bootstrap_mean(along[IDENTITY_COSINE]).as_json(),
            "distance_along": bootstrap_mean(along[IDENTITY_DISTANCE]).as_json(),
            "cosine_at_end": bootstrap_mean(costs[IDENTITY_COSINE]).as_json(),
            "distance_at_end": bootstrap_mean(costs[IDENTITY_DISTANCE]).as_json(),
        }
        floor = turn_floor(matched.attribute, matched.level)
        if floor is not None:
            table[method]["turn_itself"] = bootstrap_mean(floor).as_json()
            table[method]["beyond_the_turn"] = bootstrap_mean(costs[IDENTITY_DISTANCE] - floor).as_json()
        if method != ours:
            difference, verdict = compare_paired(matched.costs[ours][IDENTITY_DISTANCE], costs[IDENTITY_DISTANCE])
            ratio = bootstrap_ratio(matched.costs[ours][IDENTITY_DISTANCE], costs[IDENTITY_DISTANCE])
            table[method] |= {"ours_minus_this": difference.as_json(), "ours_is": verdict, "ratio": ratio.as_json()}
    return table


def group_identity(matched: list[Matched], method: str) -> dict[str, Any] | None:
    """Return cosine and distance along the sequence of a group of attributes (Light, Pose, Expression).

    Each face's mean over the group's attributes; None where the method is missing from one of them.
    """
    if not matched or any(method not in one.methods for one in matched):
        return None
    return {
        name: bootstrap_mean(np.mean([one.along[method][cost] for one in matched], axis=0)).as_json()
        for name, cost in (("cosine_along", IDENTITY_COSINE), ("distance_along", IDENTITY_DISTANCE))
    }
