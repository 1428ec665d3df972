"""How far an editor was seen to hold: up to which reading its edits go on moving faces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deltafast.delta.amounts import UNITS, AmountReader
from deltafast.delta.editor import Editor
from deltafast.generators.base import Generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.progress import track

__all__ = ["RANGE_FACES", "holds_until", "measure_range"]

RANGE_FACES = 12

_SEEDS = range(1000, 1000 + RANGE_FACES)  # faces that no report shows
_PSI = 0.7
_PARTS = 4  # into which |α| = 1 is cut
_FARTHEST = 3  # |α| at most
_SHARE = 0.9  # of the faces that must go on
_GROWTH = 0.5  # of the growth of the first part that every further one must have


@torch.no_grad()
def measure_range(editor: Editor, generator: Generator, faces: Tensor | None = None) -> dict[str, Any] | None:
    """Return how far an editor holds, as JSON values; None where nothing reads its attribute off a picture.

    `faces`: latents `[N, num_ws, w_dim]` on the generator's device, where the editor is too; by default a dozen sampled
    ones that no report of this package shows. The result has `unit`; `by`: the median changes of the reading, in that
    unit (of ratios factors), to which the editor holds with α < 0 and α > 0, |α| up to 3; `alpha`: the α of these;
    `faces`: how many were looked at. See `holds_until`. Takes up to 25 images a face. Raises `DownloadError` where the
    network that reads cannot be fetched.
    """
    unit = UNITS.get(editor.attribute)
    if unit is None:
        return None
    ws = latents_from_seeds(generator, _SEEDS, _PSI) if faces is None else faces
    reader = AmountReader([editor.attribute], generator.device)

    def read(latents: Tensor) -> Tensor:
        """The readings `[N, 1]`."""
        return torch.cat([reader.read(generator.synthesis(one[None])) for one in latents])

    before = read(ws)
    ends: list[tuple[float, Tensor]] = []  # α, and the median change there
    for sign in (-1.0, 1.0):
        changes = torch.zeros_like(before)  # [N, 1 + steps so far]
        for step in track(range(1, _FARTHEST * _PARTS + 1), f"how far {editor.attribute} holds"):
            change = read(editor.edit(ws, sign * step / _PARTS)) - before
            changes = torch.cat([changes, change], 1)
            if holds_until(changes) < step:
                break
        parts = holds_until(changes)
        ends.append((sign * parts / _PARTS, changes[:, parts].nanmedian()))
    said = [float(reader.said(change.reshape(1))) for _, change in ends]
    return {
        "unit": unit.name,
        "by": [round(value, 4) for value in said],
        "alpha": [alpha for alpha, _ in ends],
        "faces": len(ws),
    }


def holds_until(changes: Tensor) -> int:
    """Return to which column of `changes` `[faces, P + 1]`, the first being α = 0, readings go on moving.

    In every column until there, nine of ten faces must have moved on in the direction of the first step, and their
    median by at least half of what it moved in that step. A face that is not seen any more (NaN) has not moved on.
    """
    steps = changes.diff(dim=1).nan_to_num(0.0)  # [faces, P]
    direction = torch.sign(steps[:, 0].median())
    steps = steps * direction
    first = steps[:, 0].median()
    onwards = (steps > 0).float().mean(0) >= _SHARE  # [P]
    enough = steps.median(0).values >= _GROWTH * first
    held = onwards & enough & (first > 0)
    return int(held.cumprod(0).sum())
