"""How far an editor was seen to hold: up to which reading its edits go on moving faces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deltafast.delta.amounts import UNITS
from deltafast.delta.editor import Editor
from deltafast.delta.face_feedback import FaceFeedback
from deltafast.face_networks.measures import FACE_MEASURES
from deltafast.progress import track

__all__ = ["holds_until", "measure_range"]

_FACES = 12
_PARTS = 4  # into which |α| = 1 is cut; up to twice the farthest that was trained
_SHARE = 0.9  # of the faces that must go on
_GROWTH = 0.5  # of the growth of the first part that every further one must have


@torch.no_grad()
def measure_range(editor: Editor, feedback: FaceFeedback) -> dict[str, Any] | None:
    """Return how far an editor holds on a dozen of the faces it was trained on, as JSON values; None without a unit.

    `unit`; `by`: the median changes of the reading, in that unit, to which it holds with α < 0 and α > 0; `alpha`: the
    α of these; `faces`: how many were looked at. See `holds_until`.
    """
    unit = UNITS.get(editor.attribute)
    precise = editor.info.config.precise
    if unit is None or precise is None:
        return None
    count = min(_FACES, len(feedback.faces))
    sizes = torch.arange(1, int(2 * _PARTS * precise.far) + 1) / _PARTS  # [P]: |α|
    ws, column = feedback.faces[:count], FACE_MEASURES.index(unit.measure)
    ends: list[tuple[float, float]] = []
    for sign in track((-1.0, 1.0), f"how far {editor.attribute} holds"):
        curves = [torch.zeros(count)]
        for size in sizes:
            change = feedback.changes(editor.edit(ws, sign * float(size)), range(count))[:, column]
            curves.append(change.cpu() * unit.factor)
        changes = torch.stack(curves, 1)  # [faces, P + 1]
        parts = holds_until(changes)
        median = float(changes[:, parts].median())
        ends.append((round(sign * parts / _PARTS, 4), round(median, 4)))
    by = [round(float(torch.tensor(change).exp()), 4) if unit.ratio else change for _, change in ends]
    return {"unit": unit.name, "by": by, "alpha": [alpha for alpha, _ in ends], "faces": count}


def holds_until(changes: Tensor) -> int:
    """Return to which column of `changes` `[faces, P + 1]`, the first being α = 0, readings go on moving.

    In every column until there, nine of ten faces must have moved on in the direction of the first step, and their
    median by at least half of what it moved in that step.
    """
    steps = changes.diff(dim=1)  # [faces, P]
    direction = torch.sign(steps[:, 0].median())
    steps = steps * direction
    first = steps[:, 0].median()
    onwards = (steps > 0).float().mean(0) >= _SHARE  # [P]
    enough = steps.median(0).values >= _GROWTH * first
    held = onwards & enough & (first > 0)
    return int(held.cumprod(0).sum())
