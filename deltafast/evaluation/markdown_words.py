"""Numbers, shares and intervals as words of a Markdown page."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["change", "interval", "mean_of_order", "number", "origin", "percent", "relative", "spread"]


def number(value: float | None) -> str:
    """Write a figure with three significant digits, "-" where there is none."""
    return "-" if value is None else f"{value:.3g}"


def percent(value: float | None) -> str:
    """Write a share in percent."""
    return "-" if value is None else f"{100 * value:.3g} %"


def interval(value: dict[str, Any] | None, scale: float = 1.0) -> str:
    """Write a mean and its interval (see `Interval.as_json`), "-" where there is none."""
    if value is None or value["mean"] is None:
        return "-"
    mean, low, high = (None if value[key] is None else scale * value[key] for key in ("mean", "low", "high"))
    return number(mean) if low is None else f"{number(mean)} [{number(low)}, {number(high)}]"


def change(table: dict[str, Any]) -> str:
    """Write the change that a table of figures is at; of turns in degrees, with what they cost by themselves."""
    size = f"{table['change']:g}"
    return size if table["turn_itself"] is None else f"{size}° (the turn itself {number(table['turn_itself'])})"


def spread(figures: dict[str, Any] | None) -> str:
    """Write a Fréchet distance and its interval, "-" where there is none."""
    return "-" if not figures else interval({"mean": figures["distance"], **figures})


def relative(figures: dict[str, Any]) -> str:
    """Write what a change (an entry of `precision`) is relative to the faces' own measure, or the ratio for ln."""
    total, unedited = figures["total_change"]["mean"], figures["unedited_mean"]
    if total is None:
        return ""
    if figures["unit"].startswith("ln("):
        return f" (ratio {math.exp(total):.2f})"
    if figures["unit"].startswith("share") and unedited:
        return f" ({100 * total / unedited:.0f} % of the mean)"
    return ""


def origin(method: dict[str, Any]) -> str:
    """Say what a method (an entry of `methods`) was learned from."""
    if "r2_left_out" in method:
        return f"{method['samples']} sampled faces; R² {method['r2_left_out']:.2f} on those left out"
    if "identities" in method:
        return " and ".join(method["identities"])
    if "training" in method:
        return f"{method['training'].get('identities', '?')} synthetic identities ({method['file']})"
    return "the same identities" if method["label"].startswith("LINEAR") else "-"


def mean_of_order(order: dict[str, Any]) -> float | None:
    """Return the mean over the other attributes of an entry of `order`; None where there is none."""
    means = [value["mean"] for value in order.values() if value["mean"] is not None]
    return sum(means) / len(means) if means else None
