"""Consistency of edits: nothing at zero, halves that add up, edits that can be undone, order that does not matter.

In latents every figure is a length relative to that of the whole edit of the same face, so 0 is exact and 1 as wrong as
the edit is large. In images it is the descriptor's distance, and the change of the target, between two pictures that
should be the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.delta.editor import Editor, LatentEditor, ends_of
from deltafast.errors import InvalidInputError
from deltafast.evaluation.readings import FaceReader
from deltafast.evaluation.statistics import bootstrap_mean
from deltafast.faces.attributes import TARGET_MEASURES
from deltafast.faces.comparison import identity_distance
from deltafast.sequence_latents import SequenceLatents

__all__ = ["image_consistency", "latent_consistency", "order_consistency", "undo_by_encoding"]

Array = NDArray[np.float64]


@torch.inference_mode()
def latent_consistency(editor: LatentEditor, latents: Tensor) -> dict[str, Array]:
    """Return figures of N faces `[N, num_ws, w_dim]`, each `[N]` and relative to the edit of alpha = 1.

    "at_zero": D(w, 0), which the paper's raw edit adds; "halves": two edits of 1/2 against one of 1; "undo": an edit of
    1 and then of -1 against the face itself.
    """
    whole = editor.edit(latents, 1.0)
    size = _length(whole - latents)
    halves = editor.edit(editor.edit(latents, 0.5), 0.5)
    undone = editor.edit(whole, -1.0)
    return {
        "at_zero": _length(editor.offset(latents)) / size,
        "halves": _length(halves - whole) / size,
        "undo": _length(undone - latents) / size,
    }


@torch.inference_mode()
def undo_by_encoding(editor: Editor, sequences: SequenceLatents, latents: Tensor) -> Array | None:
    """Return how far Δ_ij and then Δ_ji, both encoded from a sequence, leave N faces from themselves, `[N]`.

    i is the neutral frame and j the last; the mean over identities, relative to the edit by Δ_ij. None where the
    sequences have no such attribute, or they or the latents are of another generator than the editor.
    """
    own = sequences.generator.fingerprint == editor.info.generator.fingerprint and latents.shape[1] == editor.num_ws
    if editor.attribute not in sequences.attributes or not own:
        return None
    neutral, end, _ = ends_of(sequences.attributes[editor.attribute])
    stack = sequences.stack(editor.attribute).to(latents.device)  # [K, n, L, D]
    forth = editor.encode(stack[:, neutral], stack[:, end])  # [K, L, dim]
    back = editor.encode(stack[:, end], stack[:, neutral])
    left = []
    for one, other in zip(forth, back, strict=True):
        there = editor.edit(latents, 1.0, delta=one[None])
        undone = editor.edit(there, 1.0, delta=other[None])
        left.append(_length(undone - latents) / _length(there - latents))
    return np.asarray(np.mean(left, axis=0))


@torch.inference_mode()
def order_consistency(first: LatentEditor, second: LatentEditor, latents: Tensor) -> Array:
    """Return how far apart the two orders of two edits end, `[N]`, relative to the mean length of the two edits."""
    one = second.edit(first.edit(latents, 1.0), 1.0)
    other = first.edit(second.edit(latents, 1.0), 1.0)
    size = (_length(first.edit(latents, 1.0) - latents) + _length(second.edit(latents, 1.0) - latents)) / 2
    return np.asarray(_length(one - other) / size)


@torch.inference_mode()
def image_consistency(
    reader: FaceReader, editors: Mapping[str, LatentEditor], latents: Tensor, description: str = ""
) -> dict[str, dict[str, Any]]:
    """Return for each attribute's editor how far pictures that should be equal are from each other, as JSON values.

    "halves" and "undo" as in `latent_consistency`, "order" with each of the other editors: the descriptors' distance,
    and the absolute difference of the target measure, with intervals over faces. Raises `InvalidInputError` where an
    editor has no measure.
    """
    unknown = [name for name in editors if name not in TARGET_MEASURES]
    if unknown:
        raise InvalidInputError(f"no measure for attribute {unknown[0]!r}; there are {', '.join(TARGET_MEASURES)}")
    pairs: dict[tuple[str, str], tuple[Tensor, Tensor]] = {}
    names = list(editors)
    for name, editor in editors.items():
        whole = editor.edit(latents, 1.0)
        pairs[name, "halves"] = editor.edit(editor.edit(latents, 0.5), 0.5), whole
        pairs[name, "undo"] = editor.edit(whole, -1.0), latents
    for k, name in enumerate(names):
        for other in names[k + 1 :]:
            one, two = editors[name], editors[other]
            pairs[name, other] = two.edit(one.edit(latents, 1.0), 1.0), one.edit(two.edit(latents, 1.0), 1.0)
    readings = reader.read(torch.cat([t for pair in pairs.values() for t in pair]), description)
    readings = readings.reshape(len(pairs), 2, len(latents))
    distance = identity_distance(readings.descriptors[:, 0], readings.descriptors[:, 1])  # [P, N]
    result: dict[str, dict[str, Any]] = {name: {"order": {}} for name in names}
    for row, (name, what) in enumerate(pairs):
        owners = [name] if what in ("halves", "undo") else [name, what]
        for owner in owners:
            measure = readings.measures[TARGET_MEASURES[owner][0]][row]  # [2, N]
            figures = {
                "distance": bootstrap_mean(distance[row]).as_json(),
                "target": bootstrap_mean(np.abs(measure[0] - measure[1])).as_json(),
            }
            if what in ("halves", "undo"):
                result[owner][what] = figures
            else:
                result[owner]["order"][what if owner == name else name] = figures
    return result


def _length(change: Tensor) -> Array:
    """Frobenius norm of each row `[N, num_ws, w_dim]` -> `[N]`."""
    return np.asarray(change.double().flatten(1).norm(dim=1).cpu().numpy(), dtype=np.float64)
