"""What is wanted of the editors, and whether a report's figures reach it: in words, parity and worse included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deltafast.evaluation.matched import LEAK
from deltafast.evaluation.methods import LINEAR, best_linear

__all__ = ["verdicts"]

MIN_MONOTONE = 0.97
MAX_YAW_ERROR = 3.0  # degrees


def verdicts(tables: dict[str, Any], attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one entry for each wanted figure: what, whether reached, and the figure in words, as JSON values.

    `tables`: those of one set of faces; `attributes`: the report's entry of that name. Wanted of every editor: less
    identity lost, and less leak, than the LINEAR that does best at it, at the same change and outside the interval;
    monotone for 97 % of faces; and yaw within 3 degrees of the requested one.
    """
    found: list[dict[str, Any]] = []
    for attribute, figures in tables["attributes"].items():
        own, methods = attributes[attribute]["ours"], attributes[attribute]["methods"]
        if own.startswith(LINEAR):
            continue
        identity, leak = figures["identity"], figures["leak"]
        costs = {name: _number(row["distance_at_end"]["mean"]) for name, row in identity.items()}
        best = best_linear(costs)
        found.append(_against(f"{attribute}: identity", best, methods, identity[best] if best else {}))
        costs = {name: _number(row[LEAK]["per_unit"]["mean"]) for name, row in leak.items()}
        best = best_linear(costs)
        found.append(_against(f"{attribute}: leak", best, methods, leak[best][LEAK] if best else {}))
        share = figures["precision"][own]["monotone"]["mean"]
        found.append(
            {
                "what": f"{attribute}: monotone for at least {100 * MIN_MONOTONE:.0f} % of faces",
                "reached": share is not None and share >= MIN_MONOTONE,
                "figure": "not measured" if share is None else f"{100 * share:.1f} %",
            }
        )
        requested = figures["requested"].get(own, {})
        if attribute == "yaw":
            error = (requested.get("nominal_error") or {}).get("mean")
            found.append(
                {
                    "what": f"yaw: requested angle reached within {MAX_YAW_ERROR:g}° on average",
                    "reached": error is not None and error <= MAX_YAW_ERROR,
                    "figure": "not measured" if error is None else f"off by {error:.2f}° on average",
                }
            )
    return found


def _against(what: str, best: str | None, methods: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    if best is None:
        return {"what": f"{what} better than the best LINEAR", "reached": False, "figure": "no LINEAR reaches as far"}
    difference, verdict = row["ours_minus_this"], row["ours_is"]
    values = [difference[key] for key in ("mean", "low", "high")]
    shown = "not measured" if None in values else "{:+.3g} [{:+.3g}, {:+.3g}]".format(*values)
    return {
        "what": f"{what} better than the best LINEAR ({methods[best]['label']})",
        "reached": verdict == "better",
        "figure": f"{verdict}: ours - LINEAR {shown}",
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
