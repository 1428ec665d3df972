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

    `tables`: those of one set of faces; `attributes`: the report's entry of that name. Wanted of every editor, at every
    matched change: less identity lost beyond the turn itself, less leak, and pictures nearer to faces that have it
    anyway, than the LINEAR that does best at it, the whole interval of the ratio below 1; monotone for 97 % of faces;
    and yaw within 3 degrees of the requested one.
    """
    found: list[dict[str, Any]] = []
    for attribute, figures in tables["attributes"].items():
        own, methods = attributes[attribute]["ours"], attributes[attribute]["methods"]
        if own.startswith(LINEAR):
            continue
        for table in figures["changes"]:
            for name, costs, rows in _costs(table):
                best = best_linear(costs)
                what = f"{attribute} by {table['change']:g}: {name} better than the best LINEAR"
                found.append(_against(what, best, methods, rows[best] if best else {}))
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
            error = (requested.get("error") or {}).get("mean")
            found.append(
                {
                    "what": f"yaw: requested angle reached within {MAX_YAW_ERROR:g}° on average",
                    "reached": error is not None and error <= MAX_YAW_ERROR,
                    "figure": "not measured" if error is None else f"off by {error:.2f}° on average",
                }
            )
    return found


def _costs(table: dict[str, Any]) -> list[tuple[str, dict[str, float], dict[str, Any]]]:
    """Return of each cost at a change its name, what it is by method, and the comparisons with ours by method."""
    identity, leak, realism = table["identity"], table["leak"], table["realism"]["alike"]
    return [
        ("identity", {name: _number(row["beyond"]["mean"]) for name, row in identity.items()}, identity),
        (
            "leak",
            {name: _number(row[LEAK]["per_unit"]["mean"]) for name, row in leak.items()},
            {name: row[LEAK] for name, row in leak.items()},
        ),
        ("realism", {name: _number(row["distance"]) for name, row in realism.items()}, realism),
    ]


def _against(what: str, best: str | None, methods: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    if best is None:
        return {"what": what, "reached": False, "figure": "no LINEAR that can be compared"}
    values = [row["ratio"][key] for key in ("mean", "low", "high")]
    if None in values:
        return {"what": f"{what} ({methods[best]['label']})", "reached": False, "figure": "not measured"}
    share = "{:.1f} % of LINEAR's [{:.1f}, {:.1f}]".format(*(100 * value for value in values))
    return {
        "what": f"{what} ({methods[best]['label']})",
        "reached": values[2] < 1,
        "figure": f"{share}: at most {100 * values[2]:.1f} %, {row['ratio']['n']} faces",
    }


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
