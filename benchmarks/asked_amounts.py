"""What by and to give: heads are turned by so many degrees, and other networks than the one that steers read them.

    python -m benchmarks.asked_amounts out/asked --seeds 0-15

Steered by MediaPipe's mesh, judged by dlib's landmarks and by WHENet, a network that was trained on true poses, all in
true degrees. For every amount and judge: the mean absolute error, its 90th percentile and the mean error over all
faces, those that the edit did not get there among them, and the share of faces that the steering took to be there.
Faces are kept as they are finished; the same command goes on.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.whenet import WHENet
from deltafast.delta.editor import load_editor
from deltafast.delta.slots import parse_ranges
from deltafast.editing import UnreachedWarning, edit_batch
from deltafast.evaluation.machine import describe_run
from deltafast.evaluation.readings import IMAGE_SIZE, to_pixels
from deltafast.faces.attributes import measure_attributes
from deltafast.faces.meter import FaceMeter
from deltafast.faces.true_degrees import true_angle
from deltafast.files import read_json, write_json
from deltafast.generators.base import Generator
from deltafast.generators.load import load_generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.memory import keep_freed_memory
from deltafast.progress import track
from deltafast.runs import begin_or_resume

PSI = 0.7
AXES, JUDGES = ("yaw", "pitch"), ("dlib", "whenet")
TURNED_FACES = Path(__file__).parent / "results" / "turned_faces.json"


@dataclass(frozen=True)
class Request:
    """What is asked of an editor: amounts in degrees, by or to."""

    editor: str
    word: str
    amounts: tuple[float, ...]


REQUESTS = (
    Request("yaw", "by", (-30.0, -20.0, -10.0, -5.0, 5.0, 10.0, 20.0, 30.0)),
    Request("yaw", "to", (0.0,)),
    Request("pitch", "by", (-15.0, -10.0, -5.0, 5.0, 10.0, 15.0)),
    Request("pitch", "to", (0.0,)),
)


class Judges:
    """Who reads pictures that the mesh has steered."""

    def __init__(self) -> None:
        self._meter, self._whenet = FaceMeter(), WHENet()
        reads = read_json(TURNED_FACES)["readers"]["tuning"]["whenet"]
        self._whenet_reads = {axis: reads[f"{axis}_gain"]["mean"] for axis in AXES}  # degrees per true degree

    def read(self, images: Tensor, attribute: str) -> list[dict[str, float] | None]:
        """Return each judge's angle of each of N images `[N, 3, R, R]`; None where dlib finds no face."""
        return [self._angles(picture, attribute) for picture in to_pixels(images, IMAGE_SIZE)]

    def _angles(self, picture: NDArray[np.uint8], attribute: str) -> dict[str, float] | None:
        face = self._meter.measure(picture)
        if face is None:
            return None
        dlib = float(measure_attributes(picture, face.landmarks)[attribute])
        whenet = self._whenet.read(picture, face.landmarks)[AXES.index(attribute)]
        return {"dlib": true_angle("dlib", attribute, dlib), "whenet": whenet / self._whenet_reads[attribute]}


def steered(generator: Generator, ws: Tensor, request: Request) -> dict[str, Any]:
    """Return how far an editor goes with a face `[1, num_ws, w_dim]` for each amount, and whether it gets there."""
    given: dict[str, Any] = {request.word: [list(request.amounts)]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreachedWarning)  # it is counted
        result = edit_batch(generator, ws, request.editor, batch_size=4, synthesise=False, **given)
    assert result.reached is not None
    reached = result.reached[request.editor]
    return {"there": reached.there[0].tolist(), "alpha": reached.alpha[0].tolist()}


def judged(generator: Generator, judges: Judges, ws: Tensor, request: Request, alphas: list[float]) -> dict[str, Any]:
    """Return what the judges read of a face before and after edits by these α."""
    images = edit_batch(generator, ws, request.editor, [[0.0, *alphas]], batch_size=4).images
    assert images is not None
    before, *after = judges.read(images[0], request.editor)
    return {"before": before, "after": after}


def summary(request: Request, faces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each amount: each judge's errors over the faces that are seen, and how many are not.

    `faces` have what `steered` and `judged` return.
    """
    rows = []
    for k, amount in enumerate(request.amounts):
        pairs = [(face["before"], face["after"][k]) for face in faces]
        seen = [(before, after) for before, after in pairs if before is not None and after is not None]
        errors = {}
        for judge in JUDGES:
            wanted = [amount if request.word == "to" else before[judge] + amount for before, _ in seen]
            off = np.array([after[judge] for _, after in seen]) - np.array(wanted)
            errors[judge] = {
                "mean_absolute": float(np.abs(off).mean()) if seen else None,
                "percentile_90": float(np.percentile(np.abs(off), 90)) if seen else None,
                "mean": float(off.mean()) if seen else None,
            }
        rows.append(
            {
                "editor": request.editor,
                "word": request.word,
                "amount": amount,
                "faces": len(seen),
                "unseen": len(faces) - len(seen),
                "there": float(np.mean([face["there"][k] for face in faces])),
                "errors": errors,
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for finished faces")
    parser.add_argument("--seeds", default="0-31")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "asked_amounts.json")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    generator, judges = load_generator("mobilestylegan-ffhq"), Judges()
    seeds = parse_ranges(options.seeds, "seeds", 2**32 - 1)
    editors = {name: load_editor(name).info.as_json() for name in sorted({one.editor for one in REQUESTS})}
    begin_or_resume(
        options.work / "settings.json", {"generator": generator.fingerprint, "psi": PSI, "editors": editors}
    )
    found: dict[Request, list[dict[str, Any]]] = {request: [] for request in REQUESTS}
    for seed in track(seeds, "faces"):
        ws = latents_from_seeds(generator, [seed], PSI)
        for request in REQUESTS:
            stem = options.work / f"seed{seed:04d}-{request.editor}-{request.word}"
            way, readings = stem.with_suffix(".way.json"), stem.with_suffix(".read.json")
            if not way.is_file():
                write_json(way, steered(generator, ws, request))
            known = read_json(way)
            if not readings.is_file():
                write_json(readings, judged(generator, judges, ws, request, known["alpha"]))
            found[request].append({**known, **read_json(readings)})
    rows = [row for request, faces in found.items() for row in summary(request, faces)]
    write_json(options.out, {"run": describe_run(), "seeds": options.seeds, "psi": PSI, "rows": rows})
    for row in rows:
        said = [f"{row['editor']} {row['word']} {row['amount']:+g}: {row['there']:.0%} there, {row['unseen']} unseen"]
        for judge, errors in row["errors"].items():
            if errors["mean"] is not None:
                figures = [errors[name] for name in ("mean_absolute", "percentile_90", "mean")]
                said.append("{} {:.2f}°, {:.2f}°, mean {:+.2f}°".format(judge, *figures))
        print("; ".join(said))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
