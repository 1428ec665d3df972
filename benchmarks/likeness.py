"""How like their photo faces are, unedited and edited: quick, refined, and with the photo carried along.

    python -m benchmarks.likeness PHOTOS OUT --steps 50 --out benchmarks/results/likeness.json

PHOTOS is a folder of photos or one. Each is projected by the encoder and, with `--steps` above 0, refined; latents and
figures are kept in OUT, so that a run that was stopped goes on. Then each kind of likeness is compared with the photo
by dlib's networks, which none of them looks at: descriptor distance, landmarks, and PSNR within the outline of the
landmarks at 512 pixels. Four editors at alpha 1 follow, plain and with the photo carried along; on the best latent also
at the alpha that changes the attribute as much as the plain edit did (`matched`), and LINEAR, the mean vector of the
same sequences, brought there too. Leak is the sum of the changes of all other measures for each unit of the one asked
for, in standard deviations over the photos. Seconds are of CPU time, since machines are shared. OUT/NAME.png shows it.
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
from deltafast.delta import LinearEditor, load_editor
from deltafast.evaluation.machine import describe_run
from deltafast.faces.attributes import MEASURES, measure_attributes
from deltafast.faces.comparison import identity_distance, landmark_error
from deltafast.faces.meter import Face, FaceMeter
from deltafast.faces.photos import PhotoReader
from deltafast.files import list_images, read_json, write_json, write_png
from deltafast.memory import keep_freed_memory
from deltafast.pixels import to_arrays
from deltafast.projection import CARRIED_SIZE, PHOTO_SIZE, ProjectionSettings, Projector, RefineConfig, TunedFace
from deltafast.projection.photos import at_size

Pixels = NDArray[np.uint8]

EDITS = {"yaw": "yaw", "smile": "mouth_width", "light": "shading", "eyes-closed": "eye_openness"}
"""Editors, and the measure that each is to change."""

_TRIES = 2  # corrections of an alpha
_NEAR = 0.05  # of the change that was asked for: near enough
_ALPHAS = (0.3, 2.5)  # least and most


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

    def measures(self, picture: Pixels) -> dict[str, float]:
        """All measures of a picture."""
        return measure_attributes(picture, self._face(picture).landmarks)

    def edit(self, before: dict[str, float], after: Pixels, measure: str) -> dict[str, Any]:
        """How much an attribute changed from `before`, the edited picture's distance from the photo, what else changed.

        `left`: the attribute's reading now.
        """
        face = self._face(after)
        now = measure_attributes(after, face.landmarks)
        changes = rounded({name: now[name] - before[name] for name in MEASURES})
        distance = float(identity_distance(self.face.descriptor, face.descriptor))
        return {"change": changes.pop(measure), "left": now[measure], "dlib": distance, "others": changes}

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
    parser.add_argument("--refined", help="names of the photos that are refined, comma-separated; all unless given")
    parser.add_argument("--latents", action="store_true", help="make the latents and stop there")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args(arguments)
    paths = [p for one in given.photos for p in (list_images(one) if one.is_dir() else [one])]
    generator = deltafast.load_generator("mobilestylegan-ffhq").eval()
    projector = Projector(generator, None, ProjectionSettings(RefineConfig(steps=given.steps)), PHOTO_SIZE)
    plainly = Projector(generator, None, ProjectionSettings(RefineConfig(steps=0)), PHOTO_SIZE)
    refined = {path.stem for path in paths} if given.refined is None else {*given.refined.split(",")}
    reader = PhotoReader("auto", size=CARRIED_SIZE)
    meter = FaceMeter()
    given.work.mkdir(parents=True, exist_ok=True)
    photos: dict[str, Any] = {}
    for path in paths:
        chosen = projector if path.stem in refined else plainly
        if given.latents:
            (face,) = reader.read(path).faces
            latents_of(chosen, chosen.target(face.image), given.work / f"{path.stem}.safetensors")
            print(path.stem, flush=True)
            continue
        kept = given.work / f"{path.stem}.json"
        if not kept.is_file():
            write_json(kept, of_photo(chosen, reader, meter, path, given.work))
        photos[path.stem] = read_json(kept)
        print(path.stem, photos[path.stem]["likeness"], flush=True)
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
    own = rounded(measure_attributes(comparison.photo, comparison.face.landmarks))
    result: dict[str, Any] = {"photo": own, "likeness": {}, "edits": {}, "seconds": seconds}
    rows = []
    for kind, ws in latents.items():
        begun = time.process_time()
        carried = TunedFace.of(generator, ws, face.pixels).synthesis(generator)
        shown = {kind: pictures(generator.synthesis, ws), f"tuned on {kind}": pictures(carried, ws)}
        result["seconds"][f"carry {kind}"] = round(time.process_time() - begun, 2)
        for name, picture in shown.items():
            result["likeness"][name] = rounded(comparison.likeness(picture))
        row = {name: [picture] for name, picture in shown.items()}
        before = {name: comparison.measures(picture) for name, picture in shown.items()}
        carried_before = before[f"tuned on {kind}"]
        for editor, measure in EDITS.items():
            plain = edited(generator, generator.synthesis, ws, editor, 1.0)
            ours = edited(generator, carried, ws, editor, 1.0)
            changes = {
                kind: comparison.edit(before[kind], plain, measure),
                f"tuned on {kind}": comparison.edit(carried_before, ours, measure),
            }
            row[kind].append(plain)
            row[f"tuned on {kind}"].append(ours)
            if kind == list(latents)[-1]:
                asked, first = (one["change"] for one in changes.values())
                linear = LinearEditor.of(load_editor(editor))
                for name, way, start in (("matched", editor, first), ("LINEAR", linear, None)):
                    changes[f"{name} on {kind}"] = matched(
                        comparison, generator, carried, ws, way, measure, carried_before, asked, start
                    )
            result["edits"].setdefault(editor, {}).update({name: rounded(one) for name, one in changes.items()})
        rows += [np.concatenate([comparison.photo, *row[name]], axis=1) for name in shown]
    write_png(work / f"{path.stem}.png", np.concatenate(rows, axis=0))
    return result


def matched(
    comparison: Comparison,
    generator: deltafast.Generator,
    carried: Callable[..., Tensor],
    ws: Tensor,
    way: Any,
    measure: str,
    before: dict[str, float],
    asked: float,
    first: float | None,
) -> dict[str, Any]:
    """An edit brought to the change `asked`, by secants from alpha 1, whose change is `first` where it is known."""
    if first is None:
        change = comparison.edit(before, edited(generator, carried, ws, way, 1.0), measure)
        first = change["change"]
    points = [(0.0, 0.0), (1.0, first)]
    found: dict[str, Any] = {}
    for _ in range(_TRIES):
        (a, x), (b, y) = points[-2:]
        slope = (y - x) / (b - a) if b != a else 0.0
        alpha = float(np.clip(b + (asked - y) / slope, *_ALPHAS)) if slope * asked > 0 else _ALPHAS[1]
        found = {"alpha": alpha, **comparison.edit(before, edited(generator, carried, ws, way, alpha), measure)}
        points.append((alpha, found["change"]))
        if abs(found["change"] - asked) < _NEAR * abs(asked):
            break
    return found


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


def edited(G: deltafast.Generator, synthesise: Callable[..., Tensor], ws: Tensor, editor: Any, alpha: float) -> Pixels:
    """The picture of an edited latent."""
    return pictures(synthesise, deltafast.edit_batch(G, ws, editor, alpha, synthesise=False).latents)


def summary(photos: dict[str, Any]) -> dict[str, Any]:
    """Means over photos, worst likeness, and of edits: change, its share of the plain edit's, distance, leak."""
    spread = {name: statistics.pstdev(one["photo"][name] for one in photos.values()) for name in MEASURES}
    kinds = list(dict.fromkeys(kind for one in photos.values() for kind in one["likeness"]))
    likeness: dict[str, Any] = {}
    for kind in kinds:
        some = [one["likeness"][kind] for one in photos.values() if kind in one["likeness"]]
        values = {measure: [one[measure] for one in some] for measure in ("dlib", "landmarks", "psnr")}
        likeness[kind] = rounded({name: statistics.fmean(found) for name, found in values.items()})
        worst = {"worst dlib": max(values["dlib"]), "least psnr": min(values["psnr"])}
        likeness[kind] |= rounded(worst) | {"photos": len(some)}
    edits: dict[str, Any] = {}
    for editor, measure in EDITS.items():
        edits[editor] = {}
        for kind in dict.fromkeys(kind for one in photos.values() for kind in one["edits"][editor]):
            each = [one["edits"][editor] for one in photos.values() if kind in one["edits"][editor]]
            base = kind.split(" ")[-1]
            found = {m: statistics.fmean(one[kind][m] for one in each) for m in ("change", "left", "dlib")}
            found["share"] = found["change"] / statistics.fmean(one[base]["change"] for one in each)
            found["dlib of plain"] = found["dlib"] / statistics.fmean(one[base]["dlib"] for one in each)
            if all(spread.values()):
                found["leak"] = statistics.fmean(leak(one[kind], measure, spread) for one in each)
            edits[editor][kind] = rounded(found) | {"photos": len(each)}
    seconds: dict[str, float] = {}
    for name in dict.fromkeys(name for one in photos.values() for name in one["seconds"]):
        measured = [one["seconds"][name] for one in photos.values() if name in one["seconds"]]
        seconds[name] = round(statistics.fmean(measured), 2)
    return {"count": len(photos), "likeness": likeness, "edits": edits, "seconds": seconds, "spread": rounded(spread)}


def leak(edit: dict[str, Any], measure: str, spread: dict[str, float]) -> float:
    """What else an edit changed for each unit of what it was to change, in standard deviations over the photos."""
    asked = abs(edit["change"]) / spread[measure]
    return sum(abs(value) / spread[name] for name, value in edit["others"].items()) / max(asked, 0.1)


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """The numbers among the values to four places."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


if __name__ == "__main__":
    sys.exit(main())
