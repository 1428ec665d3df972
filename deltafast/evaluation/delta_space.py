"""The space of Δ: the principal components of all Δ that the encoder gives, and what the first of them do to faces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.delta.editor import Editor
from deltafast.errors import InvalidInputError
from deltafast.evaluation.readings import FaceReader
from deltafast.evaluation.statistics import bootstrap_mean
from deltafast.faces.attributes import MEASURES
from deltafast.sequence_latents import SequenceLatents

__all__ = ["STRENGTHS", "DeltaSpace", "component_effects", "component_latents", "delta_space"]

Array = NDArray[np.float64]

STRENGTHS = (-1.0, 0.0, 1.0)  # standard deviations of a component that faces are moved by


@dataclass(frozen=True)
class DeltaSpace:
    """Principal components of Δ about zero (Δ_ij and Δ_ji are both in it).

    `explained` `[C]`: shares of the total variance, falling; `components` `[C, num_ws, dim]`: of unit length;
    `deviations` `[C]`: the standard deviation along each; `count`: how many Δ.
    """

    attribute: str
    explained: Array
    components: Tensor
    deviations: Array
    count: int

    def needed(self, share: float) -> int:
        """Return how many components hold at least `share` of the variance."""
        return int(np.searchsorted(np.cumsum(self.explained), share - 1e-12) + 1)


@torch.inference_mode()
def delta_space(editor: Editor, sequences: SequenceLatents) -> DeltaSpace:
    """Encode every pair of different frames of every identity of the editor's attribute, and find the components.

    Raises `InvalidInputError` where the sequences are of another generator or attribute.
    """
    if sequences.generator.fingerprint != editor.info.generator.fingerprint:
        raise InvalidInputError("the sequences are projections of another generator than the editor's")
    stack = sequences.stack(editor.attribute).to(editor.delta.device)  # [K, n, L, D]
    frames = stack.shape[1]
    pairs = [(i, j) for i in range(frames) for j in range(frames) if i != j]
    first, second = ([pair[k] for pair in pairs] for k in (0, 1))
    deltas = torch.cat([editor.encode(row[first], row[second]) for row in stack])  # [M, L, dim]
    flat = deltas.flatten(1).double()  # [M, L * dim]
    _, s, vt = torch.linalg.svd(flat, full_matrices=False)
    variance = (s**2 / len(flat)).cpu().numpy()  # [C]
    explained = variance / max(float(variance.sum()), 1e-300)
    components = vt.reshape(-1, *deltas.shape[1:]).float()
    return DeltaSpace(editor.attribute, explained, components, np.sqrt(variance), len(flat))


@torch.inference_mode()
def component_latents(editor: Editor, space: DeltaSpace, latents: Tensor, count: int) -> Tensor:
    """Return N faces moved along the first components by `STRENGTHS`: `[count, N, 3, num_ws, w_dim]`."""
    rows = []
    for component, deviation in zip(space.components[:count], space.deviations[:count], strict=True):
        delta = (component * float(deviation))[None].to(latents.device)  # [1, L, dim]
        rows.append(torch.stack([editor.edit(latents, strength, delta=delta) for strength in STRENGTHS], dim=1))
    return torch.stack(rows)


def component_effects(
    reader: FaceReader, moved: Tensor, description: str = "", *, thumbnails: int = 0
) -> list[dict[str, Any]]:
    """Return what each component changes from -1 to 1 standard deviations, every measure with its interval.

    `moved` is what `component_latents` gives; the result has one entry for each component, as JSON values.
    `thumbnails` as for `FaceReader.read`.
    """
    readings = reader.read(moved.flatten(0, 2), description, thumbnails=thumbnails).reshape(*moved.shape[:3])
    return [
        {
            name: bootstrap_mean(readings.measures[name][row, :, -1] - readings.measures[name][row, :, 0]).as_json()
            for name in MEASURES
        }
        for row in range(len(moved))
    ]
