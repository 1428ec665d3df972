"""What by and to give: heads are turned by so many degrees, and another network than the one that steers reads them.

    python -m benchmarks.asked_amounts out/asked --seeds 0-31

Steered by MediaPipe's mesh, judged by dlib's landmarks, both in true degrees. For every amount: the judge's mean
absolute error and the 90th percentile of it over all faces, those that the edit did not get there among them, and the
share of faces that the steering took to be there. Faces are kept as they are finished; the same command goes on.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


class Judge:
    """dlib's landmarks, in true degrees."""

    def __init__(self) -> None:
        self._meter = FaceMeter()

    def read(self, images: Tensor, attribute: str) -> list[float | None]:
        """Return the angle of each of N images `[N, 3, R, R]`; None where no face is found."""
        return [self._angle(picture, attribute) for picture in to_pixels(images, IMAGE_SIZE)]

    def _angle(self, picture: NDArray[np.uint8], attribute: str) -> float | None:
        face = self._meter.measure(picture)
        if face is None:
            return None
        return true_angle("dlib", attribute, float(measure_attributes(picture, face.landmarks)[attribute]))


def one_face(generator: Generator, judge: Judge, ws: Tensor, request: Request) -> dict[str, Any]:
    """Return what an editor did to a face `[1, num_ws, w_dim]`: the judge's angles, and whether steering got there."""
    given: dict[str, Any] = {request.word: [list(request.amounts)]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreachedWarning)  # it is counted
        result = edit_batch(generator, ws, request.editor, batch_size=4, **given)
    assert result.images is not None
    assert result.reached is not None
    reached = result.reached[request.editor]
    with torch.inference_mode():
        unedited = generator.synthesis(ws, noise_mode="const")
    return {
        "before": judge.read(unedited, request.editor)[0],
        "after": judge.read(result.images[0], request.editor),
        "there": reached.there[0].tolist(),
        "alpha": reached.alpha[0].tolist(),
        "steered": {"before": float(reached.before[0]), "after": reached.after[0].tolist()},
    }


def summary(request: Request, faces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each amount: errors over the faces that the judge sees, and how many it does not."""
    rows = []
    for k, amount in enumerate(request.amounts):
        errors = []
        for face in faces:
            before, after = face["before"], face["after"][k]
            if before is not None and after is not None:
                errors.append(abs(after - (amount if request.word == "to" else before + amount)))
        rows.append(
            {
                "editor": request.editor,
                "word": request.word,
                "amount": amount,
                "faces": len(errors),
                "unseen": len(faces) - len(errors),
                "mean_error": float(np.mean(errors)) if errors else None,
                "percentile_90": float(np.percentile(errors, 90)) if errors else None,
                "there": float(np.mean([face["there"][k] for face in faces])),
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
    generator, judge = load_generator("mobilestylegan-ffhq"), Judge()
    seeds = parse_ranges(options.seeds, "seeds", 2**32 - 1)
    editors = {name: load_editor(name).info.as_json() for name in sorted({one.editor for one in REQUESTS})}
    begin_or_resume(
        options.work / "settings.json", {"generator": generator.fingerprint, "psi": PSI, "editors": editors}
    )
    found: dict[Request, list[dict[str, Any]]] = {request: [] for request in REQUESTS}
    for seed in track(seeds, "faces"):
        ws = latents_from_seeds(generator, [seed], PSI)
        for request in REQUESTS:
            file = options.work / f"seed{seed:04d}-{request.editor}-{request.word}.json"
            if not file.is_file():
                write_json(file, one_face(generator, judge, ws, request))
            found[request].append(read_json(file))
    rows = [row for request, faces in found.items() for row in summary(request, faces)]
    write_json(options.out, {"run": describe_run(), "seeds": options.seeds, "psi": PSI, "rows": rows})
    for row in rows:
        seen = row["mean_error"] is not None
        errors = f"{row['mean_error']:.2f}°, {row['percentile_90']:.2f}°" if seen else "no face is seen"
        share = f"{row['there']:.0%} there, {row['unseen']} unseen"
        print(f"{row['editor']} {row['word']} {row['amount']:+g}: {errors}; {share}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
