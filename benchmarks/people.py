"""What the editors of age, gender and weight do to sampled faces, which no network here can read off a picture.

    python -m benchmarks.people --seeds 0-15 --sheet docs/people.jpg

Of each face at α = -1 and 1, by dlib's networks: how far its descriptor moves, and by how much every other measure
changes, in standard deviations over unedited faces; beside the plain mean vector of the same latents, brought to the
same length in W+. And a sheet, for the rest is for eyes to see.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import deltafast
from deltafast.delta.editor import LatentEditor
from deltafast.delta.linear import LinearEditor
from deltafast.delta.slots import parse_ranges
from deltafast.evaluation.figures.sheets import write_jpeg
from deltafast.evaluation.machine import describe_run
from deltafast.evaluation.readings import IMAGE_SIZE, to_pixels
from deltafast.evaluation.statistics import bootstrap_mean
from deltafast.faces.attributes import MEASURES, attribute_table
from deltafast.faces.comparison import identity_distance
from deltafast.faces.meter import FaceMeter, stack_faces
from deltafast.files import write_json
from deltafast.generators.base import Generator
from deltafast.memory import keep_freed_memory
from deltafast.progress import track

EDITORS = ("age", "gender", "weight")
_SHEET_ALPHAS = (-2.0, -1.0, 0.0, 1.0, 2.0)
_SHEET_FACES = 3
_SHEET_PIXELS = 192


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; returns the exit code."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-15", help="sampled faces")
    parser.add_argument("--generator", default="mobilestylegan-ffhq")
    parser.add_argument("--sheet", type=Path, help="JPEG of the first faces along alpha")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "people.json")
    options = parser.parse_args(arguments)
    G = deltafast.load_generator(options.generator)
    seeds = parse_ranges(options.seeds, "seeds", 2**32 - 1)
    ws = deltafast.latents_from_seeds(G, seeds, 0.7)
    meter = FaceMeter()
    unedited = _read(G, meter, ws, "unedited")
    found: dict[str, Any] = {}
    for name in EDITORS:
        ours = deltafast.load_editor(name)
        ways: dict[str, LatentEditor] = {"flow": ours, "LINEAR": LinearEditor.of(ours)}
        length = {way: float((editor.edit(ws, 1.0) - ws).norm(dim=(1, 2)).mean()) for way, editor in ways.items()}
        found[name] = {}
        for way, editor in ways.items():
            alpha = length["flow"] / length[way]
            ends = [_read(G, meter, editor.edit(ws, sign * alpha), f"{name}, {way}") for sign in (-1, 1)]
            found[name][way] = {"alpha": alpha, **_compared(unedited, ends)}
            print(name, way, found[name][way])
    write_json(options.out, {"run": describe_run(), "seeds": options.seeds, "editors": found})
    if options.sheet:
        rows = [_sheet(G, ws[:_SHEET_FACES], deltafast.load_editor(name)) for name in EDITORS]
        write_jpeg(options.sheet, np.concatenate(rows))
    return 0


def _read(G: Generator, meter: FaceMeter, ws: Tensor, words: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return descriptors `[N, 128]` and each measure `[N]` of the images of N latents, NaN without a face."""
    with torch.inference_mode():
        images = [to_pixels(G.synthesis(w[None], noise_mode="const"), IMAGE_SIZE)[0] for w in track(ws, words)]
    faces = [meter.measure(image) for image in images]
    return stack_faces(faces)[1], attribute_table(images, faces)


def _compared(unedited: Any, ends: list[Any]) -> dict[str, Any]:
    """Return distance of descriptors and change of every measure, the mean of both ends, over faces."""
    distances = np.stack([identity_distance(descriptors, unedited[0]) for descriptors, _ in ends]).mean(0)
    leak = {
        name: float(
            np.nanmean([np.abs(measures[name] - unedited[1][name]) for _, measures in ends])
            / np.nanstd(unedited[1][name])
        )
        for name in MEASURES
    }
    return {
        "distance": bootstrap_mean(distances).as_json(),
        "leak": leak,
        "leak_mean": float(np.mean([*leak.values()])),
    }


def _sheet(G: Generator, ws: Tensor, editor: LatentEditor) -> np.ndarray:
    """Faces below each other along alpha, uint8 `[H, W, 3]`."""
    rows = []
    with torch.inference_mode():
        for face in ws:
            cells = []
            for alpha in _SHEET_ALPHAS:
                image = to_pixels(G.synthesis(editor.edit(face[None], alpha), noise_mode="const"), IMAGE_SIZE)[0]
                small = Image.fromarray(image).resize((_SHEET_PIXELS, _SHEET_PIXELS), Image.Resampling.LANCZOS)
                cells.append(np.asarray(small))
            rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows)


if __name__ == "__main__":
    raise SystemExit(main())
