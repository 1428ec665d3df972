"""The per-kernel table as a picture: for each operation its time, and how much of that time its floor explains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_MOST_ROWS = 24
_NAME = 46  # characters


def draw_kernel_table(table: dict[str, Any], title: str, path: Path) -> None:
    """Write `table` (of `kernel_table`) as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = table["rows"][:_MOST_ROWS]
    figure = Figure(figsize=(12, 1.6 + 0.34 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    places = range(len(rows))
    axes.barh(places, [1e3 * row["seconds"] for row in rows], color="#c9d3e0", label="time")
    axes.barh(places, [1e3 * min(row["floor_s"], row["seconds"]) for row in rows], color="#31688e", label="floor")
    for place, row in zip(places, rows, strict=True):
        rates = f" {row['GB/s']:.0f} GB/s, {row['TFLOP/s']:.1f} TFLOP/s, floor {row['share_of_floor']:.0%}"
        axes.text(1e3 * row["seconds"], place, rates, va="center", fontsize=7)
    axes.set_yticks(list(places), [_label(row) for row in rows], fontsize=7, family="monospace")
    axes.invert_yaxis()
    axes.margins(x=0.25)
    axes.set_xlabel("milliseconds")
    axes.set_title(f"{title}: {1e3 * table['seconds']:.3f} ms, floor {1e3 * table['floor_s']:.3f} ms", fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)


def draw_headlines(lines: list[dict[str, Any]], machine: dict[str, Any], path: Path) -> None:
    """Write the headlines (of `headlines`) as a PNG: in each case ours, the best baseline, and the floor."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 1.4 + 0.5 * len(lines)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, line in enumerate(lines):
        slowest = line["best_baseline_s"]
        axes.barh(place - 0.2, line["ours_s"] / slowest, 0.38, color="#31688e", label="ours" if not place else None)
        axes.barh(place + 0.2, 1.0, 0.38, color="#c9d3e0", label="best baseline" if not place else None)
        if "floor_s" in line:
            share = line["floor_s"] / slowest
            axes.plot([share, share], [place - 0.4, place + 0.4], color="#b5179e", label="floor" if not place else None)
        axes.text(1.01, place, f"{1e3 * line['ours_s']:.3f} ms, {line['speedup']:.2f} x", va="center", fontsize=7)
    axes.set_yticks(range(len(lines)), [line["case"] for line in lines], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("time, as a share of the best baseline's")
    axes.set_title(f"deltafast on {machine['gpu'] or 'a CPU'}, torch {machine['torch']}", fontsize=10)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=110)


def _label(row: dict[str, Any]) -> str:
    name = row["operation"].removeprefix("aten::")
    text = f"{name} {row['shapes'].split(', ')[0]}"
    return f"{text[:_NAME]} x{row['calls']}"
