"""How like their photo faces are, unedited and edited: quick, refined, and with the photo carried along.

    python -m benchmarks.likeness PHOTOS OUT --steps 50 --out benchmarks/results/likeness.json

PHOTOS is a folder of photos or one. Each is projected by the encoder and, with `--steps` above 0, refined; latents are
kept in OUT, so that a run that was stopped goes on. Then each kind of likeness is compared with the photo by dlib's
networks, which none of them looks at: descriptor distance, landmarks, and PSNR within the outline of the landmarks at
512 pixels. Four editors at alpha 1 follow, and for the carried photo a second time at the alpha that changes the
attribute as much as the plain edit did. Seconds are of CPU time, since machines are shared. OUT/NAME.png shows it all.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.spatial import ConvexHull
from torch import Tensor

import deltafast
from deltafast.evaluation.machine import describe_run
from deltafast.faces.attributes import measure_attributes
from deltafast.faces.comparison import identity_distance, landmark_error
from deltafast.faces.meter import Face, FaceMeter
from deltafast.faces.photos import PhotoReader
from deltafast.files import list_images, write_json, write_png
from deltafast.memory import keep_freed_memory
from deltafast.pixels import to_arrays
from deltafast.projection import CARRIED_SIZE, PHOTO_SIZE, ProjectionSettings, Projector, RefineConfig, TunedFace
from deltafast.projection.photos import at_size

Pixels = NDArray[np.uint8]

EDITS = {"yaw": "yaw", "smile": "mouth_width", "light": "shading", "eyes-closed": "eye_openness"}
"""Editors, and the measure that each is to change."""


class Comparison:
    """One photo, what dlib reads off it, and how near pictures come to it."""

    def __init__(self, meter: FaceMeter, photo: Pixels) -> None:
        found = meter.measure(photo)
        assert found is not None
        self.meter, self.photo, self.face = meter, photo, found
        y, x = np.mgrid[: len(photo), : len(photo)]
        lines = ConvexHull(found.landmarks).equations
        self.inside = (x[..., None] * lines[:, 0] + y[..., None] * lines[:, 1] + lines[:, 2] <= 0).all(-1)

    def likeness(self, picture: Pixels) -> dict[str, float]:
        """Descriptor distance, landmark error (share of the inter-ocular distance), PSNR in the face (dB)."""
        face = self._face(picture)
        error = np.square(picture[self.inside].astype(float) - self.photo[self.inside]).mean()
        return {
            "dlib": float(identity_distance(self.face.descriptor, face.descriptor)),
            "landmarks": float(landmark_error(self.face.landmarks, face.landmarks)),
            "psnr": float(10 * np.log10(255**2 / max(error, 1e-3))),
        }

    def edit(self, before: Pixels, after: Pixels, measure: str) -> dict[str, float]:
        """How much an attribute changed, and the edited picture's descriptor distance from the photo."""
        old, new = self._face(before), self._face(after)
        readings = [measure_attributes(p, f.landmarks)[measure] for p, f in ((before, old), (after, new))]
        distance = float(identity_distance(self.face.descriptor, new.descriptor))
        return {"change": readings[1] - readings[0], "dlib": distance}

    def _face(self, picture: Pixels) -> Face:
        found = self.meter.measure(picture)
        if found is None:
            raise ValueError("dlib finds no face in a picture that was made")
        return found


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="folder of photos, or photos")
    parser.add_argument("work", type=Path, help="folder for latents and sheets")
    parser.add_argument("--steps", type=int, default=50, help="of refinement; 0: the encoder's latents alone")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args(arguments)
    paths = [p for one in given.photos for p in (list_images(one) if one.is_dir() else [one])]
    generator = deltafast.load_generator("mobilestylegan-ffhq").eval()
    projector = Projector(generator, None, ProjectionSettings(RefineConfig(steps=given.steps)), PHOTO_SIZE)
    reader = PhotoReader("auto", size=CARRIED_SIZE)
    meter = FaceMeter()
    given.work.mkdir(parents=True, exist_ok=True)
    photos: dict[str, Any] = {}
    for path in paths:
        photos[path.stem] = of_photo(projector, reader, meter, path, given.work)
        print(path.stem, photos[path.stem], flush=True)
        if given.out is not None:
            write_json(given.out, {"run": describe_run(), "steps": given.steps, **summary(photos), "photos": photos})
    return 0


@torch.no_grad()
def of_photo(projector: Projector, reader: PhotoReader, meter: FaceMeter, path: Path, work: Path) -> dict[str, Any]:
    """Measure one photo's likenesses and edits, and write its sheet."""
    (face,) = reader.read(path).faces
    target = projector.target(face.image)
    comparison = Comparison(meter, to_arrays(target)[0])
    latents, seconds = latents_of(projector, target, work / f"{path.stem}.safetensors")
    generator = projector.generator
    result: dict[str, Any] = {"likeness": {}, "edits": {}, "seconds": seconds}
    rows = []
    for kind, ws in latents.items():
        begun = time.process_time()
        carried = TunedFace.of(generator, ws, face.pixels).synthesis(generator)
        shown = {kind: pictures(generator.synthesis, ws), f"tuned on {kind}": pictures(carried, ws)}
        result["seconds"][f"carry {kind}"] = round(time.process_time() - begun, 2)
        for name, picture in shown.items():
            result["likeness"][name] = rounded(comparison.likeness(picture))
        row = {name: [picture] for name, picture in shown.items()}
        for editor, measure in EDITS.items():
            plain = edited(generator, generator.synthesis, ws, editor, 1.0)
            ours = edited(generator, carried, ws, editor, 1.0)
            changes = {
                kind: comparison.edit(shown[kind], plain, measure),
                f"tuned on {kind}": comparison.edit(shown[f"tuned on {kind}"], ours, measure),
            }
            asked, got = (one["change"] for one in changes.values())
            alpha = float(np.clip(asked / got, 0.5, 2.0)) if got * asked > 0 else 1.0
            matched = edited(generator, carried, ws, editor, alpha)
            changes[f"matched on {kind}"] = comparison.edit(shown[f"tuned on {kind}"], matched, measure)
            result["edits"].setdefault(editor, {}).update({name: rounded(one) for name, one in changes.items()})
            row[kind].append(plain)
            row[f"tuned on {kind}"].append(ours)
        rows += [np.concatenate([comparison.photo, *row[name]], axis=1) for name in shown]
    write_png(work / f"{path.stem}.png", np.concatenate(rows, axis=0))
    return result


def latents_of(projector: Projector, target: Tensor, file: Path) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The encoder's latent and the refined one, kept in `file`; and the seconds of CPU that they took."""
    steps = projector.settings.refine.steps
    found = load_file(file) if file.is_file() else {}
    if "seconds" not in found:
        begun = time.process_time()
        found = {"quick": projector.encode(target), "seconds": torch.zeros(2)}
        found["seconds"][0] = time.process_time() - begun
    if steps > 0 and "refined" not in found:
        begun = time.process_time()
        with torch.enable_grad():
            found["refined"] = projector.refine(target, found["quick"], shared_base=False).ws.detach()
        found["seconds"][1] = time.process_time() - begun
    save_file(found, file)
    kinds = ["quick", "refined"] if steps > 0 else ["quick"]
    measured = zip(kinds, found["seconds"].tolist(), strict=False)  # 0 of latents that came from elsewhere
    return {kind: found[kind] for kind in kinds}, {kind: round(taken, 2) for kind, taken in measured if taken > 0}


def pictures(synthesise: Callable[..., Tensor], ws: Tensor) -> Pixels:
    """The picture `[512, 512, 3]` of a latent `[1, L, C]`."""
    return to_arrays(at_size(synthesise(ws)[0].clamp(-1, 1), PHOTO_SIZE))[0]


def edited(G: deltafast.Generator, synthesise: Callable[..., Tensor], ws: Tensor, editor: str, alpha: float) -> Pixels:
    """The picture of an edited latent."""
    return pictures(synthesise, deltafast.edit_batch(G, ws, editor, alpha, synthesise=False).latents)


def summary(photos: dict[str, Any]) -> dict[str, Any]:
    """Means over photos, worst likeness, and the kept edits as ratios of the plain ones' means."""
    count = len(photos)
    likeness: dict[str, Any] = {}
    for kind in next(iter(photos.values()))["likeness"]:
        values = {m: [one["likeness"][kind][m] for one in photos.values()] for m in ("dlib", "landmarks", "psnr")}
        likeness[kind] = rounded({name: statistics.fmean(found) for name, found in values.items()})
        likeness[kind]["worst dlib"] = round(max(values["dlib"]), 4)
    edits: dict[str, Any] = {}
    for editor in EDITS:
        each = [one["edits"][editor] for one in photos.values()]
        edits[editor] = {
            kind: rounded({m: statistics.fmean(one[kind][m] for one in each) for m in ("change", "dlib")})
            for kind in each[0]
        }
    return {"count": count, "likeness": likeness, "edits": edits}


def rounded(values: dict[str, float]) -> dict[str, float]:
    """The values to four places."""
    return {name: round(value, 4) for name, value in values.items()}


if __name__ == "__main__":
    sys.exit(main())
