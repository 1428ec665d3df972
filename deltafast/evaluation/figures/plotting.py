"""How all plots look: colours of the methods, axes without clutter, written atomically."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deltafast.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FACE_COLOURS", "OURS", "REAL", "SYNTHETIC", "method_colours", "new_figure", "save_figure"]

OURS, REAL, SYNTHETIC = "#1b6ca8", "#9a9a9a", "#d1495b"
_BASELINES = ("#e08a1e", "#7a5195", "#3a9d6e", "#8c6d5a", "#c0558a")
FACE_COLOURS = ("#1b6ca8", "#d1495b", "#3a9d6e", "#e08a1e", "#7a5195", "#8c6d5a", "#2a9db5", "#c0558a")


def method_colours(methods: Sequence[str]) -> dict[str, str]:
    """Return a colour for each method: the first is ours, the others are baselines."""
    return {name: OURS if k == 0 else _BASELINES[(k - 1) % len(_BASELINES)] for k, name in enumerate(methods)}


def new_figure(rows: int, columns: int, width: float = 4.2, height: float = 3.4) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of `rows` x `columns` axes, `width` x `height` inches each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25, linewidth=0.5)
    return figure, [list(row) for row in axes]


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
