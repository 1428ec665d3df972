"""Readings along alpha: what N faces show at K amounts of one edit."""

from __future__ import annotations

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

__all__ = ["ALPHAS", "EditCurves", "edited_latents", "read_edits"]

Array = NDArray[np.float64]

ALPHAS = (-1.0, -0.5, 0.0, 0.5, 1.0)


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


def edited_latents(editor: LatentEditor, latents: Tensor, alphas: tuple[float, ...]) -> Tensor:
    """Return N faces `[N, num_ws, w_dim]` edited to each of K alphas, `[N, K, num_ws, w_dim]`.

    One face at a time, so that its latents, by which readings are kept, have the same bits whichever others there are.
    """
    with torch.inference_mode():
        rows = [torch.cat([editor.edit(face[None], alpha) for alpha in alphas]) for face in latents]  # N of [K, L, D]
    return torch.stack(rows) if rows else latents.new_zeros(0, len(alphas), *latents.shape[1:])


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
