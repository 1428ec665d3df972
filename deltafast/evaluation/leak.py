"""Leak: what changes that was not asked for, per unit of what was."""

from __future__ import annotations

from typing import Any

from deltafast.evaluation.matched import LEAK, Matched
from deltafast.evaluation.statistics import bootstrap_mean, bootstrap_ratio, compare_paired
from deltafast.faces.attributes import MEASURES, TARGET_MEASURES

__all__ = ["leak_table"]


def leak_table(matched: Matched, ours: str) -> dict[str, Any]:
    """Return for each method and each measure not asked for its absolute change per unit of the target's, as JSON.

    "leak" is the sum over measures, in standard deviations (over unedited faces) per standard deviation of the target.
    Each with its interval, and the paired difference of ours - the method with the verdict on ours; of "leak" also
    `ratio`, ours / the method's, the upper end of whose interval is what may be claimed.
    """
    names = [name for name in MEASURES if name != TARGET_MEASURES[matched.attribute][0]] + [LEAK]
    table: dict[str, Any] = {}
    for method in matched.methods:
        table[method] = {}
        for name in names:
            values = matched.leak_per_unit(method, name)
            table[method][name] = {"per_unit": bootstrap_mean(values).as_json()}
            if method != ours:
                difference, verdict = compare_paired(matched.leak_per_unit(ours, name), values)
                table[method][name] |= {"ours_minus_this": difference.as_json(), "ours_is": verdict}
                if name == LEAK:
                    table[method][name]["ratio"] = bootstrap_ratio(matched.leak_per_unit(ours, name), values).as_json()
    return table
