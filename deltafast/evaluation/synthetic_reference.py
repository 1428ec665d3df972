"""What the synthetic sequence says: how far the rendered heads go along an attribute, and what is read of them.

A turn is known: the heads are rendered at it. Elsewhere what is requested is what the heads' own measure shows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deltafast.delta.editor import ends_of
from deltafast.faces.attributes import MEASURES, TARGET_MEASURES, attribute_table
from deltafast.faces.meter import FaceMeter
from deltafast.faces.true_degrees import true_degrees
from deltafast.files import read_image
from deltafast.synthetic import ATTRIBUTES, render_sequences
from deltafast.synthetic.attributes import attribute_named

__all__ = ["SyntheticChange", "render_reference"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SyntheticChange:
    """The target measure of rendered heads along their attribute.

    `values` `[n]`: the frames' attribute values; `unit`: theirs; `change` `[heads, n]`: the measure's change from the
    neutral frame as it is read off the heads, signed as the edit's, angles in degrees that are true of rendered heads,
    NaN where no face was found; `frames` `[heads][n]`: the pictures' files.
    """

    attribute: str
    unit: str
    values: tuple[float, ...]
    change: Array
    frames: tuple[tuple[Path, ...], ...]

    @property
    def known(self) -> bool:
        """Whether the attribute's value is itself the change of its measure: an angle that is measured as an angle."""
        return self.unit == "degree" == MEASURES[TARGET_MEASURES[self.attribute][0]]

    def requested(self, value: float) -> float:
        """Return the measure's change that the attribute's `value` means; NaN beyond the rendered frames.

        The angle by which the heads are turned where it is `known`, else what is `read` of them.
        """
        if not self.known:
            return self.read(value)
        inside = min(self.values) <= value <= max(self.values)
        return value - self.values[ends_of(self.values)[0]] if inside else float("nan")

    def read(self, value: float) -> float:
        """Return the measure's change that the heads show at a `value`, their mean, linear between frames.

        NaN beyond the frames, and where fewer than two of them show a face.
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
    if MEASURES[name] == "degree":
        sign *= true_degrees("dlib", name, rendered=True)
    neutral = ends_of(values)[0]
    rows = []
    for row in frames:
        images = [read_image(path) for path in row]
        measured = sign * attribute_table(images, meter.measure_batch(images))[name]  # [n]
        rows.append(measured - measured[neutral])
    return SyntheticChange(attribute, kind.unit, tuple(values), np.array(rows), frames)
