"""Plots along an edit: alpha against what is measured, and identity against how far the attribute went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deltafast.evaluation.change_search import IDENTITY_DISTANCE
from deltafast.evaluation.edit_curves import ALPHAS, EditCurves
from deltafast.evaluation.figures.plotting import method_colours, new_figure, save_figure
from deltafast.evaluation.matched import Matched
from deltafast.evaluation.statistics import bootstrap_mean
from deltafast.evaluation.turn_floor import turn_floor
from deltafast.faces.attributes import MEASURES, TARGET_MEASURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["AttributeCurves", "plot_alpha", "plot_identity"]

Array = NDArray[np.float64]

_COLUMNS = 4
_MAX_LINES = 40  # faces drawn one by one


@dataclass(frozen=True)
class AttributeCurves:
    """What the plots of one attribute show: curves and labels by method (ours first), costs at the matched changes.

    `requested` `[5]`: the change that the synthetic sequence means at each of `ALPHAS`, NaN where it says nothing.
    """

    attribute: str
    curves: Mapping[str, EditCurves]
    labels: Mapping[str, str]
    matched: Sequence[Matched]
    requested: Array


def plot_alpha(path: Path, shown: list[AttributeCurves]) -> None:
    """Plot for each attribute the target's change over alpha: every face of ours, all means, what was requested."""
    figure, axes = _one_each(shown)
    for axis, one in axes:
        colours = method_colours(list(one.curves))
        for k, (name, curves) in enumerate(one.curves.items()):
            change = curves.target_change()  # [N, 5]
            if k == 0:
                axis.plot(ALPHAS, change[:_MAX_LINES].T, color=colours[name], alpha=0.15, linewidth=0.7)
            means = [bootstrap_mean(column) for column in change.T]
            axis.plot(ALPHAS, [m.mean for m in means], color=colours[name], linewidth=2, label=one.labels[name])
            axis.fill_between(
                ALPHAS, [m.low for m in means], [m.high for m in means], color=colours[name], alpha=0.2, linewidth=0
            )
        if np.isfinite(one.requested).any():
            axis.plot(ALPHAS, one.requested, "k--", linewidth=1.2, label="requested (synthetic heads)")
        name = TARGET_MEASURES[one.attribute][0]
        axis.set_title(one.attribute, fontsize=10)
        axis.set_xlabel("α", fontsize=9)
        axis.set_ylabel(f"change of {name.replace('_', ' ')}\n({MEASURES[name]})", fontsize=8)
        if axis is figure.axes[0]:
            axis.legend(fontsize=7, frameon=False)
    save_figure(figure, path)


def plot_identity(path: Path, shown: list[AttributeCurves]) -> None:
    """Plot the descriptor's distance at each matched change, and of turns what the turn costs by itself."""
    figure, axes = _one_each(shown)
    for axis, one in axes:
        colours = method_colours(list(one.curves))
        for name in one.curves:
            at = [matched for matched in one.matched if name in matched.methods and matched.pairs.any()]
            means = [bootstrap_mean(matched.costs[name][IDENTITY_DISTANCE]) for matched in at]
            change = [0.0, *(matched.change for matched in at)]
            line = [0.0, *(m.mean for m in means)]
            axis.plot(change, line, "o-", color=colours[name], linewidth=1.8, markersize=4, label=one.labels[name])
            low, high = [0.0, *(m.low for m in means)], [0.0, *(m.high for m in means)]
            axis.fill_between(change, low, high, color=colours[name], alpha=0.18, linewidth=0)
        sizes = np.linspace(0, max(matched.change for matched in one.matched), 40)
        floor = [turn_floor(one.attribute, size) for size in sizes]
        if any(floor):
            axis.plot(sizes, floor, "k--", linewidth=1.2, label="the turn itself")
        name = TARGET_MEASURES[one.attribute][0]
        axis.set_title(one.attribute, fontsize=10)
        axis.set_xlabel(f"change of {name.replace('_', ' ')} ({MEASURES[name]})", fontsize=8)
        axis.set_ylabel("descriptor distance to the unedited face", fontsize=8)
        axis.set_ylim(bottom=0)
        if axis is figure.axes[0]:
            axis.legend(fontsize=7, frameon=False, loc="upper left")
    save_figure(figure, path)


def _one_each(shown: list[AttributeCurves]) -> tuple[Figure, Iterator[tuple[Axes, AttributeCurves]]]:
    """Return a figure with axes for each attribute, four in a row, and each with its attribute."""
    columns = min(_COLUMNS, len(shown))
    figure, rows = new_figure(-(-len(shown) // columns), columns)
    axes = [axis for row in rows for axis in row]
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    return figure, zip(axes, shown, strict=False)
