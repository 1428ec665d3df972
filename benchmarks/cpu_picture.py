"""The CPU benchmarks' results as one picture: deltafast beside everything it was measured with.

    python -m benchmarks.cpu_picture --out docs/cpu.png

Reads cpu_mobilestylegan.json, cpu_stylegan2.json and cpu_delta.json in `--results`; what is not there is left out.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltafast.files import read_json

_OURS = "deltafast"


@dataclass(frozen=True)
class Panel:
    """Bars of one comparison: contenders and their median milliseconds, and the floor or None."""

    title: str
    milliseconds: dict[str, float]
    floor: float | None = None


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--out", type=Path, default=Path("docs/cpu.png"))
    options = parser.parse_args(arguments)
    panels: list[Panel] = []
    for name, read in (("mobilestylegan", mobilestylegan), ("stylegan2", stylegan2), ("delta", delta)):
        path = options.results / f"cpu_{name}.json"
        if path.exists():
            panels += read(read_json(path))
    if not panels:
        print(f"error: {options.results} holds no result of the CPU benchmarks", file=sys.stderr)
        return 1
    draw(panels, options.out)
    return 0


def mobilestylegan(result: dict[str, Any]) -> list[Panel]:
    """Return the panels of cpu_mobilestylegan.json."""
    title = f"{result['generator']}, {result['resolution']} x {result['resolution']}, batch 1"
    floor = 1e3 * result["floor_s"]
    return [
        Panel(
            f"{title}, {direction}",
            {row["contender"]: 1e3 * row["median_s"] for row in result[direction]},
            floor if direction == "forward" else None,
        )
        for direction in ("forward", "backward")
    ]


def stylegan2(result: dict[str, Any]) -> list[Panel]:
    """Return the panels of cpu_stylegan2.json, sorted by time."""
    panels = []
    for batch, row in result["batches"].items():
        times = {name: 1e3 * times["median"] for name, times in row["seconds"].items()}
        ordered = dict(sorted(times.items(), key=lambda item: item[1]))
        panels.append(Panel(f"{result['network']}, batch {batch}, forward", ordered))
    return panels


def delta(result: dict[str, Any]) -> list[Panel]:
    """Return the panels of cpu_delta.json."""
    return [
        Panel(f"E and D: {name}", {who: 1e3 * row[who]["median_s"] for who in (_OURS, "plain torch")})
        for name, row in result["results"].items()
    ]


def draw(panels: list[Panel], path: Path) -> None:
    """Write the panels below each other as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [len(panel.milliseconds) + 1.2 for panel in panels]
    figure = Figure(figsize=(9, 0.24 * sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        names, values = list(panel.milliseconds), list(panel.milliseconds.values())
        axes.barh(names, values, color=["#31688e" if name == _OURS else "#c9d3e0" for name in names])
        for place, value in enumerate(values):
            axes.text(value, place, f" {value:.0f} ms" if value >= 100 else f" {value:.3g} ms", va="center", fontsize=7)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlim(left=0)
        axes.tick_params(labelsize=7)
        axes.set_title(panel.title, fontsize=8, loc="left")
        if panel.floor is not None:
            axes.axvline(panel.floor, color="black", linewidth=0.8, linestyle=":")
    figure.supxlabel("milliseconds, medians; dotted: all arithmetic at the rate of a large sgemm", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
