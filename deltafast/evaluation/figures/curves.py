"""Plots along an edit: alpha against what is measured, and identity against how far the attribute went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deltafast.evaluation.edit_curves import ALPHAS, EditCurves
from deltafast.evaluation.figures.plotting import method_colours, new_figure, save_figure
from deltafast.evaluation.matched import IDENTITY_DISTANCE, Matched, along_the_way
from deltafast.evaluation.statistics import bootstrap_mean
from deltafast.faces.attributes import MEASURES, TARGET_MEASURES

__all__ = ["AttributeCurves", "plot_alpha", "plot_identity"]

Array = NDArray[np.float64]

_SHARES = np.linspace(0.0, 1.0, 9)  # of each face's matched change
_MAX_LINES = 40  # faces drawn one by one


@dataclass(frozen=True)
class AttributeCurves:
    """What the plots of one attribute show: curves and labels by method (ours first), costs at matched change.

    `requested` `[5]`: the change that the synthetic sequence means at each of `ALPHAS`, NaN where it says nothing.
    """

    attribute: str
    curves: Mapping[str, EditCurves]
    labels: Mapping[str, str]
    matched: Matched
    requested: Array


def plot_alpha(path: Path, shown: list[AttributeCurves]) -> None:
    """Plot for each attribute the target's change over alpha: every face of ours, all means, what was requested."""
    figure, rows = new_figure(1, len(shown))
    for axis, one in zip(rows[0], shown, strict=True):
        colours = method_colours(list(one.curves))
        for k, (name, curves) in enumerate(one.curves.items()):
            change = curves.at(ALPHAS).target_change()  # [N, 5]
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
    rows[0][0].legend(fontsize=7, frameon=False)
    save_figure(figure, path)


def plot_identity(path: Path, shown: list[AttributeCurves]) -> None:
    """Plot the descriptor's distance over the attribute's change on the way to each face's matched change."""
    figure, rows = new_figure(1, len(shown))
    for axis, one in zip(rows[0], shown, strict=True):
        colours = method_colours(list(one.curves))
        for name in one.matched.methods:
            change, cost = along_the_way(one.curves[name], one.matched, _SHARES, IDENTITY_DISTANCE)  # [S], [S, N]
            means = [bootstrap_mean(row) for row in cost]
            axis.plot(change, [m.mean for m in means], color=colours[name], linewidth=1.8, label=one.labels[name])
            low, high = [m.low for m in means], [m.high for m in means]
            axis.fill_between(change, low, high, color=colours[name], alpha=0.18, linewidth=0)
        name = TARGET_MEASURES[one.attribute][0]
        axis.set_title(one.attribute, fontsize=10)
        axis.set_xlabel(f"change of {name.replace('_', ' ')} ({MEASURES[name]})", fontsize=8)
        axis.set_ylabel("descriptor distance to the unedited face", fontsize=8)
        axis.set_ylim(bottom=0)
    rows[0][0].legend(fontsize=7, frameon=False, loc="upper left")
    save_figure(figure, path)
