"""What the synthetic sequence says: how the rendered heads' own measures change along an attribute."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deltafast.delta.editor import ends_of
from deltafast.faces.attributes import TARGET_MEASURES, attribute_table
from deltafast.faces.meter import FaceMeter
from deltafast.files import read_image
from deltafast.synthetic import ATTRIBUTES, render_sequences
from deltafast.synthetic.attributes import attribute_named

__all__ = ["SyntheticChange", "render_reference"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SyntheticChange:
    """The target measure of rendered heads along their attribute.

    `values` `[n]`: the frames' attribute values; `unit`: theirs; `change` `[heads, n]`: the measure's change from the
    neutral frame, signed as the edit's, NaN where no face was found; `frames` `[heads][n]`: the pictures' files.
    """

    attribute: str
    unit: str
    values: tuple[float, ...]
    change: Array
    frames: tuple[tuple[Path, ...], ...]

    def requested(self, value: float) -> float:
        """Return the measure's change that the attribute's `value` means; NaN beyond the rendered frames.

        The mean over the heads, linear between frames.
        """
        there = np.isfinite(self.change).any(axis=0)  # [n]
        if there.sum() < 2:
            return float("nan")
        known = np.array(self.values)[there]
        mean = np.nanmean(self.change[:, there], axis=0)  # [n']
        order = np.argsort(known)
        return float(np.interp(value, known[order], mean[order], left=np.nan, right=np.nan))


def render_reference(
    attribute: str, values: tuple[float, ...], meter: FaceMeter, work: str | os.PathLike[str], *, processes: int = 1
) -> SyntheticChange | None:
    """Render the paper's two heads along an attribute at `values` into `work`, and measure them.

    None for an attribute, or for values, that this version does not render.
    """
    if attribute not in ATTRIBUTES or attribute not in TARGET_MEASURES or len(values) % 2 == 0 or len(values) < 3:
        return None
    kind = attribute_named(attribute)
    if not np.allclose(kind.values(len(values)), values):
        return None
    folder = Path(work) / f"{attribute}-{len(values)}"
    manifest = render_sequences(folder, attributes=[attribute], frames=len(values), processes=processes)
    frames = tuple(
        tuple(manifest.path(frame) for frame in manifest.sequence(attribute, head)) for head in manifest.identities
    )
    name, sign = TARGET_MEASURES[attribute]
    neutral = ends_of(values)[0]
    rows = []
    for row in frames:
        images = [read_image(path) for path in row]
        measured = sign * attribute_table(images, meter.measure_batch(images))[name]  # [n]
        rows.append(measured - measured[neutral])
    return SyntheticChange(attribute, kind.unit, tuple(values), np.array(rows), frames)
