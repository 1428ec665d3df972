"""Readings along alpha: what N faces show at K amounts of one edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.delta.editor import LatentEditor
from deltafast.errors import InvalidInputError
from deltafast.evaluation.readings import FaceReader, Readings
from deltafast.faces.attributes import TARGET_MEASURES
from deltafast.faces.comparison import identity_cosine, identity_distance

__all__ = ["ALPHAS", "EXTENDED", "EditCurves", "edited_latents", "extend_weaker", "reach", "read_edits"]

Array = NDArray[np.float64]

ALPHAS = (-1.0, -0.5, 0.0, 0.5, 1.0)
EXTENDED = (1.5, 2.0, 3.0)  # sizes of alpha that a weaker editor is read at as well
_FAR_ENOUGH = 0.95  # of the reference's reach


@dataclass(frozen=True)
class EditCurves:
    """Readings of N faces along K rising alphas, of which one is 0: `readings` laid out `[N, K]`."""

    attribute: str
    alphas: tuple[float, ...]
    readings: Readings

    @property
    def zero(self) -> int:
        """The index of alpha = 0."""
        return self.alphas.index(0.0)

    def measure(self, name: str) -> Array:
        """Return a measure's values `[N, K]`, the target measure signed so that the edit raises it."""
        target, sign = TARGET_MEASURES[self.attribute]
        return self.readings.measures[name] * (sign if name == target else 1.0)

    def target(self) -> Array:
        """Return the target measure `[N, K]`, rising with alpha where the edit works."""
        return self.measure(TARGET_MEASURES[self.attribute][0])

    def target_change(self) -> Array:
        """Return the target measure's change from the unedited face, `[N, K]`."""
        target = self.target()
        return np.asarray(target - target[:, [self.zero]])

    def distance(self) -> Array:
        """Return the descriptors' distances to the unedited face, `[N, K]`."""
        return identity_distance(self.readings.descriptors, self.readings.descriptors[:, self.zero, None])

    def cosine(self) -> Array:
        """Return the descriptors' cosines with the unedited face, `[N, K]`."""
        return identity_cosine(self.readings.descriptors, self.readings.descriptors[:, self.zero, None])

    def outwards(self, direction: int) -> list[int]:
        """Return the indices of alpha = 0 and of all alphas of the sign `direction`, by growing size."""
        chosen = [k for k, alpha in enumerate(self.alphas) if alpha * direction >= 0]
        return chosen if direction > 0 else chosen[::-1]

    def at(self, alphas: tuple[float, ...]) -> EditCurves:
        """Return the curves at some of their alphas."""
        index = [self.alphas.index(alpha) for alpha in alphas]
        r = self.readings
        measures = {name: values[:, index] for name, values in r.measures.items()}
        return EditCurves(self.attribute, alphas, Readings(measures, r.landmarks[:, index], r.descriptors[:, index]))

    def joined(self, other: EditCurves) -> EditCurves:
        """Return these curves with the alphas of `other` added, in rising order."""
        order = np.argsort(self.alphas + other.alphas)

        def join(one: Array, two: Array) -> Array:
            return np.asarray(np.concatenate([one, two], axis=1)[:, order])

        ours, theirs = self.readings, other.readings
        return EditCurves(
            self.attribute,
            tuple((self.alphas + other.alphas)[k] for k in order),
            Readings(
                {name: join(values, theirs.measures[name]) for name, values in ours.measures.items()},
                join(ours.landmarks, theirs.landmarks),
                join(ours.descriptors, theirs.descriptors),
            ),
        )


def edited_latents(editor: LatentEditor, latents: Tensor, alphas: tuple[float, ...]) -> Tensor:
    """Return N faces `[N, num_ws, w_dim]` edited to each of K alphas, `[N, K, num_ws, w_dim]`."""
    with torch.inference_mode():
        return torch.stack([editor.edit(latents, alpha) for alpha in alphas], dim=1)


def read_edits(
    reader: FaceReader,
    editor: LatentEditor,
    attribute: str,
    latents: Tensor,
    alphas: tuple[float, ...] = ALPHAS,
    description: str = "",
    *,
    features: bool = False,
    thumbnails: int = 0,
) -> EditCurves:
    """Edit N faces `[N, num_ws, w_dim]` to each alpha, synthesise and measure them.

    `features` and `thumbnails` as for `FaceReader.read`. Raises `InvalidInputError` for an attribute without a
    measure.
    """
    if attribute not in TARGET_MEASURES:
        raise InvalidInputError(f"no measure for attribute {attribute!r}; there are {', '.join(TARGET_MEASURES)}")
    alphas = tuple(sorted(float(alpha) for alpha in alphas))
    edited = edited_latents(editor, latents, alphas)  # [N, K, L, D]
    flat = edited.flatten(0, 1)
    readings = reader.read(flat, description, features=features, thumbnails=thumbnails)
    return EditCurves(attribute, alphas, readings.reshape(len(latents), len(alphas)))


def extend_weaker(curves: Mapping[str, EditCurves], reference: str) -> dict[str, tuple[float, ...]]:
    """Return for each editor the alphas at which it must be read as well before it can be matched.

    In each direction an editor that reaches less than 95 % of the reference's mean change within |alpha| <= 1 is
    continued to the next of `EXTENDED`; the reference itself is not. Call again with the joined curves until nothing
    is asked for.
    """
    more: dict[str, tuple[float, ...]] = {}
    for name, own in curves.items():
        missing = []
        for direction in (-1, 1):
            wanted = _FAR_ENOUGH * _mean(reach(curves[reference], direction, 1.0))
            done = max(abs(alpha) for alpha in own.alphas if alpha * direction >= 0)
            left = [size for size in EXTENDED if size > done]
            if name != reference and left and _mean(reach(own, direction, done)) < wanted:
                missing.append(direction * left[0])
        if missing:
            more[name] = tuple(sorted(missing))
    return more


def reach(curves: EditCurves, direction: int, most: float = float("inf")) -> Array:
    """Return each face's largest target change `[N]` in a direction within |alpha| <= `most`; NaN where unmeasured."""
    index = [k for k in curves.outwards(direction) if abs(curves.alphas[k]) <= most]
    change = direction * curves.target_change()[:, index]  # [N, K]
    return np.asarray(np.max(change, axis=1))


def _mean(values: Array) -> float:
    """Return the mean of the values that are there, 0 without any."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else 0.0
