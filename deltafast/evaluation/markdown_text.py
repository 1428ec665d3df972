"""Numbers, intervals and tables as Markdown text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["interval", "number", "percent", "picture", "table"]


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


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table and an empty line."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def picture(file: str, caption: str) -> str:
    """Return a picture with its caption below."""
    return f"![{caption}]({file})\n\n*{caption}*\n"
