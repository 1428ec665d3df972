"""The faces that editors are judged on: sampled by seed, photos, or latents that were projected before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltafast.delta.linear import LinearEditor
from deltafast.editing import edit_batch
from deltafast.errors import ImageError, InvalidInputError
from deltafast.evaluation.readings import FaceReader
from deltafast.evaluation.statistics import bootstrap_mean
from deltafast.faces.comparison import identity_cosine, identity_distance
from deltafast.faces.meter import FaceMeter
from deltafast.files import list_images, read_image
from deltafast.generators.base import Generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.progress import track
from deltafast.sequence_latents import GeneratorId

__all__ = ["FaceSet", "face_set_of_latents", "face_set_of_photos", "face_set_of_seeds", "projection_figures"]


@dataclass(frozen=True)
class FaceSet:
    """N faces: `latents` `[N, num_ws, w_dim]` and their `labels`; `facts`: where they come from, as JSON values.

    `photos`: the pictures that were projected, empty where the faces never were pictures; `shown`: whether a report
    has pictures of them.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    latents: Tensor
    facts: dict[str, Any] = field(default_factory=dict)
    photos: tuple[Path, ...] = ()
    shown: bool = True


def face_set_of_seeds(generator: Generator, seeds: Sequence[int], psi: float) -> FaceSet:
    """Return sampled faces; raises `InvalidInputError` for seeds out of range or none at all."""
    if not seeds:
        raise InvalidInputError("at least one face is needed")
    latents = latents_from_seeds(generator, seeds, psi)
    labels = tuple(f"seed {seed}" for seed in seeds)
    return FaceSet("sampled", f"sampled faces (psi {psi:g})", labels, latents, {"seeds": list(seeds), "psi": psi})


def face_set_of_photos(generator: Generator, folder: Path) -> FaceSet:
    """Project every picture of a folder with the bundled encoder, as `edit_batch` does with images.

    Pictures that cannot be projected are named in `facts["skipped"]`. Raises `InvalidInputError` where none is left.
    """
    paths = list_images(folder)
    nothing = torch.zeros(generator.num_ws, generator.w_dim, device=generator.device)
    still = LinearEditor("none", (0.0, 1.0), nothing, range(generator.num_ws), GeneratorId.of(generator))
    kept, rows, skipped = [], [], {}
    for path in track(paths, "projecting photos"):
        try:
            rows.append(edit_batch(generator, path, still, 0.0, synthesise=False).sources.to(generator.device))
            kept.append(path)
        except ImageError as error:
            skipped[path.name] = error.reason
    if not rows:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise InvalidInputError(f"{folder} holds no picture that can be projected ({reasons or 'no pictures'})")
    facts = {"projected_by": "the bundled encoder", "skipped": skipped}
    labels = tuple(path.stem for path in kept)
    return FaceSet("photos", "photos, projected by the encoder", labels, torch.cat(rows), facts, tuple(kept))


def face_set_of_latents(generator: Generator, named: Sequence[tuple[str, Tensor]]) -> FaceSet:
    """Return faces from latents `[N, num_ws, w_dim]` or `[N, w_dim]` by name, such as `deltafast project` leaves.

    Raises `InvalidInputError` for latents of another shape, or NaN.
    """
    rows, labels = [], []
    for name, given in named:
        ws = given.float()
        if ws.ndim == 2:
            ws = ws[:, None].expand(-1, generator.num_ws, -1)
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (generator.num_ws, generator.w_dim):
            expected = f"[N, {generator.num_ws}, {generator.w_dim}]"
            raise InvalidInputError(f"{name} holds latents {list(given.shape)}; this generator has {expected}")
        if not bool(torch.isfinite(ws).all()):
            raise InvalidInputError(f"{name} holds NaN or infinity")
        rows.append(ws.to(generator.device))
        labels += [name] if len(ws) == 1 else [f"{name} {k}" for k in range(len(ws))]
    if not labels:
        raise InvalidInputError("there are no latents to take faces from")
    return FaceSet("latents", "projected faces", tuple(labels), torch.cat(rows), {"names": labels})


def projection_figures(faces: FaceSet, reader: FaceReader, meter: FaceMeter) -> dict[str, Any] | None:
    """Return how far the descriptors of photos are from those of their projections, as JSON values; None without."""
    if not faces.photos:
        return None
    measured = [meter.measure(read_image(path)) for path in track(faces.photos, "measuring photos")]
    nothing = np.full(128, np.nan)
    photos = np.array([nothing if face is None else face.descriptor for face in measured])  # [N, 128]
    projected = reader.read(faces.latents).descriptors
    return {
        "distance": bootstrap_mean(identity_distance(photos, projected)).as_json(),
        "cosine": bootstrap_mean(identity_cosine(photos, projected)).as_json(),
        "photos_without_face": sum(face is None for face in measured),
    }
