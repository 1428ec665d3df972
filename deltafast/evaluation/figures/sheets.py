"""Sheets of pictures: edits over LINEAR with the synthetic frames above, and faces moved along components of Δ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deltafast.evaluation.delta_space import STRENGTHS
from deltafast.evaluation.edit_curves import ALPHAS, edited_latents
from deltafast.evaluation.figures.contact_sheet import Block, contact_sheet
from deltafast.evaluation.methods import Method
from deltafast.evaluation.readings import FaceReader
from deltafast.evaluation.synthetic_reference import SyntheticChange
from deltafast.files import atomic_write, read_image

__all__ = ["CELL", "component_sheet", "edit_sheet", "write_jpeg"]

CELL = 160  # pixels

Pixels = NDArray[np.uint8]


def edit_sheet(
    path: Path,
    reader: FaceReader,
    attribute: str,
    methods: Sequence[Method],
    latents: Tensor,
    names: Sequence[str],
    reference: SyntheticChange | None,
) -> None:
    """Write one attribute's sheet: the synthetic heads above, then for each face ours over the other methods.

    `latents` `[N, num_ws, w_dim]` and their `names`; columns are `ALPHAS`, and as many frames of the heads.
    """
    blocks = []
    if reference is not None:
        shown = np.linspace(0, len(reference.values) - 1, len(ALPHAS)).round().astype(int)
        labels = [_value(reference.values[k], reference.unit) for k in shown]
        pictures = [[np.stack([_fit(read_image(frames[k])) for k in shown])] for frames in reference.frames]
        heads = ["female", "male"][: len(pictures)]
        blocks.append(Block(f"{attribute}: the synthetic heads", heads, [labels], pictures))
    rows, pictures = [], []
    for k, name in enumerate(names):
        for method in methods:
            edited = edited_latents(method.editor, latents[k : k + 1], ALPHAS)[0]  # [5, L, D]
            pictures.append([reader.thumbnails(edited, CELL)])
            rows.append(f"{name}: {method.label}" if method is methods[0] else method.label)
    blocks.append(Block(f"{attribute}: edited faces", rows, [[f"α = {alpha:g}" for alpha in ALPHAS]], pictures))
    write_jpeg(path, contact_sheet([""], blocks))


def component_sheet(
    path: Path, reader: FaceReader, moved: dict[str, Tensor], explained: dict[str, list[float]]
) -> None:
    """Write what the first components of Δ do to a face: one row for each attribute and component.

    `moved[attribute]` `[C, N, 3, num_ws, w_dim]` as `component_latents` gives; `explained` their shares of variance.
    """
    blocks = []
    for attribute, latents in moved.items():
        labels = [f"{strength:+g} σ" if strength else "unedited" for strength in STRENGTHS]
        rows = [f"component {c + 1} ({100 * explained[attribute][c]:.0f} %)" for c in range(len(latents))]
        pictures = [[reader.thumbnails(face, CELL) for face in component] for component in latents]
        blocks.append(Block(f"Δ of {attribute}", rows, [labels] * latents.shape[1], pictures))
    faces = next(iter(moved.values())).shape[1]
    write_jpeg(path, contact_sheet([f"face {k + 1}" for k in range(faces)], blocks))


def write_jpeg(path: Path, image: Pixels) -> None:
    """Write uint8 `[H, W, 3]` as JPEG, atomically."""
    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary, format="JPEG", quality=88)


def _value(value: float, unit: str) -> str:
    return f"{value:.0f}°" if unit == "degree" else f"{value:.2g}"


def _fit(image: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(image).resize((CELL, CELL), Image.Resampling.LANCZOS))
