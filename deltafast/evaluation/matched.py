"""Costs of several methods where all have changed the same faces by the same amount.

Each face is compared each way in which every method brings it to the change; a face's cost is the mean over its ways,
and faces are the bootstrap's unit. A method that brings less than three quarters as many as the reference is left out,
and named; how many each method brings stands beside its costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError
from deltafast.evaluation.change_search import ChangedFaces
from deltafast.faces.attributes import MEASURES, TARGET_MEASURES

__all__ = ["LEAK", "Matched", "match_methods", "known_mean"]

Array = NDArray[np.float64]

LEAK = "leak"
_MIN_SHARE = 0.75  # of the faces that the reference brings


@dataclass(frozen=True)
class Matched:
    """Costs at one change.

    `methods`: those compared; `left_out`: those that bring too few faces; `pairs` `[N, 2]`: which faces are compared,
    by way; `costs[method][cost]` `[N]`: descriptor distance and cosine to the unedited face, the absolute change of
    every other measure, and `LEAK`, their sum in standard deviations over unedited faces; NaN where a face is not
    compared; `brought[method]`: of every method, left out or not, the share of faces and ways that it brings there;
    `spread`: each measure's standard deviation over unedited faces.
    """

    attribute: str
    change: float
    methods: tuple[str, ...]
    left_out: tuple[str, ...]
    pairs: NDArray[np.bool_]
    costs: dict[str, dict[str, Array]]
    brought: dict[str, float]
    spread: dict[str, float]

    @property
    def faces_each_way(self) -> tuple[int, int]:
        """How many faces are compared at alpha < 0 and at alpha > 0."""
        low, high = self.pairs.sum(axis=0)
        return int(low), int(high)

    def leak_per_unit(self, method: str, cost: str) -> Array:
        """Return each face's change `[N]` of a measure not asked for, per unit of the target's change.

        For `LEAK` both are counted in standard deviations over unedited faces.
        """
        unit = self.spread[TARGET_MEASURES[self.attribute][0]] if cost == LEAK else 1.0
        return np.asarray(self.costs[method][cost] * unit / self.change)


def match_methods(found: Mapping[str, ChangedFaces], reference: str) -> list[Matched]:
    """Compare methods, by name, with the reference, once for each of the changes that they were brought to.

    Raises `InvalidInputError` where attributes, changes or faces differ.
    """
    base = found[reference]
    same = (base.attribute, base.changes, len(base.alpha))
    if any((one.attribute, one.changes, len(one.alpha)) != same for one in found.values()):
        raise InvalidInputError("methods are compared on the same attribute, the same changes and the same faces")
    spread = {name: _spread(values) for name, values in base.unedited.measures.items()}
    possible = 2 * max(1, int(np.isfinite(base.unedited.descriptors[:, 0]).sum()))
    result = []
    for place, change in enumerate(base.changes):
        brought = {name: one.brought[:, :, place] for name, one in found.items()}  # [N, 2]
        wanted = _MIN_SHARE * brought[reference].sum()
        kept = [name for name in found if name == reference or brought[name].sum() >= wanted > 0]
        pairs = np.logical_and.reduce([brought[name] for name in kept])  # [N, 2]
        costs = {name: _costs(found[name], place, pairs, spread) for name in kept}
        left_out = tuple(name for name in found if name not in kept)
        shares = {name: float(there.sum() / possible) for name, there in brought.items()}
        result.append(Matched(base.attribute, change, tuple(kept), left_out, pairs, costs, shares, spread))
    return result


def _costs(one: ChangedFaces, place: int, pairs: NDArray[np.bool_], spread: dict[str, float]) -> dict[str, Array]:
    """Return each cost `[N]` at the change of this place, of the pairs `[N, 2]` that are compared."""
    table = {name: known_mean(np.where(pairs, values[:, :, place], np.nan)) for name, values in one.costs.items()}
    target = TARGET_MEASURES[one.attribute][0]
    table[LEAK] = np.sum([table[name] / spread[name] for name in MEASURES if name != target], axis=0)
    return table


def known_mean(values: Array) -> Array:
    """Return the mean of each row `[N, K]` -> `[N]` over what is there, NaN where nothing is."""
    there = np.isfinite(values)
    count = there.sum(axis=1)  # [N]
    total = np.where(there, values, 0.0).sum(axis=1)  # [N]
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _spread(values: Array) -> float:
    kept = values[np.isfinite(values)]
    return float(kept.std()) if len(kept) > 1 and kept.std() > 0 else float("nan")
