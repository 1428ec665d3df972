"""How well photos are projected, and what edits make of them: encoder alone against refined, photo by photo.

    python benchmarks/photos.py PHOTOS OUT --out benchmarks/results/photos.json

PHOTOS is a folder of photos; scikit-image's astronaut is added to them. They are projected into OUT as `deltafast
project` does it (finished ones are kept), measured by dlib's networks, which have no part in encoder or refinement,
and shown on a sheet: photo, encoder, refined, and three edits each.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

import deltafast
from deltafast.editing import edit_batch
from deltafast.errors import DeltafastError
from deltafast.evaluation.machine import describe_run
from deltafast.faces.comparison import identity_distance
from deltafast.faces.meter import FaceMeter
from deltafast.faces.photos import PhotoReader
from deltafast.files import list_images, read_json, write_json, write_png
from deltafast.generators.base import Generator
from deltafast.memory import keep_freed_memory
from deltafast.pixels import to_arrays
from deltafast.progress import track
from deltafast.projection import (
    PHOTO_SIZE,
    ProjectionSettings,
    Projector,
    RefineConfig,
    encode_images,
    load_encoder,
    project_images,
)
from deltafast.projection.photos import at_size

Pixels = NDArray[np.uint8]

EDITS = (("yaw", 1.0), ("smile", 1.0), ("light", 1.0))
SHEET_PIXELS = 128
SHEET_COLUMNS = 2  # photos side by side
TIMED = 3  # photos whose projection is timed


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("work", type=Path, help="folder for the latents; finished ones are kept")
    parser.add_argument("--generator", default="mobilestylegan-ffhq", help="name or checkpoint")
    parser.add_argument("--steps", type=int, default=50, help="refinement steps")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/photos.json"))
    options = parser.parse_args(arguments)
    try:
        figures = run(options)
    except DeltafastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(markdown(figures))
    print(f"written to {options.out} and {options.out.with_suffix('.png').name}")
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Project, measure, edit; writes JSON and sheet."""
    generator = deltafast.load_generator(options.generator)
    settings = ProjectionSettings(RefineConfig(steps=options.steps))
    write_png(options.work / "astronaut" / "astronaut.png", _astronaut())
    folders = {options.photos: options.work / "photos", options.work / "astronaut": options.work / "astronaut-latents"}
    rows, tiles, descriptors = [], [], []
    meter = FaceMeter()
    reader = PhotoReader("auto", size=PHOTO_SIZE)
    encoder = load_encoder()
    for photos, out in folders.items():
        result = project_images(generator, photos, out, settings)
        if result.failures:
            raise DeltafastError(f"not every photo shows a face: {result.failures}")
        for path in track(list_images(photos), "measuring photos"):
            report = read_json(out / f"{path.stem}.json")
            rows.append({"photo": path.stem, **report})
            face = at_size(reader.read(path).faces[0].image, PHOTO_SIZE)  # [1, 3, 512, 512]
            descriptors.append(_descriptor(meter, to_arrays(face)[0]))
            ws = load_file(out / f"{path.stem}.safetensors")["ws"]  # [1, num_ws, w_dim]
            tiles.append(_tiles(generator, face, encode_images(generator, face, encoder=encoder), ws))
    figures = {
        "run": describe_run(),
        "settings": {"steps": options.steps, "edits": [list(edit) for edit in EDITS]},
        "photos": rows,
        "mean": {stage: _means([row[stage] for row in rows]) for stage in ("encoder", "refined")},
        "refined_closer_than_encoder": sum(
            row["refined"]["descriptor_distance"] < row["encoder"]["descriptor_distance"] for row in rows
        ),
        "different_people": _different(descriptors),
        "seconds": _seconds(generator, list_images(options.photos)[:TIMED], settings),
    }
    write_json(options.out, figures)
    lines = [np.hstack(tiles[i : i + SHEET_COLUMNS]) for i in range(0, len(tiles), SHEET_COLUMNS)]
    width = max(line.shape[1] for line in lines)
    write_png(options.out.with_suffix(".png"), np.vstack([_padded(line, width) for line in lines]))
    return figures


def _astronaut() -> Pixels:
    from skimage.data import astronaut

    picture: Pixels = astronaut()
    return picture


def _descriptor(meter: FaceMeter, picture: Pixels) -> NDArray[np.float64]:
    face = meter.measure(picture)
    if face is None:
        raise DeltafastError("an aligned photo shows no face")
    return face.descriptor


def _different(descriptors: list[NDArray[np.float64]]) -> dict[str, float]:
    """Descriptor distances between the photos of different people."""
    pairs = [float(identity_distance(a, b)) for a, b in itertools.combinations(descriptors, 2)]
    return {"mean": round(statistics.mean(pairs), 4), "smallest": round(min(pairs), 4), "pairs": len(pairs)}


def _means(reports: list[dict[str, Any]]) -> dict[str, float]:
    names = ("descriptor_distance", "descriptor_cosine", "landmark_error", "w_distance")
    return {
        name: round(statistics.mean(report[name] for report in reports), 4)
        for name in names
        if all(report[name] is not None for report in reports)
    } | {"largest_descriptor_distance": max(report["descriptor_distance"] for report in reports)}


def _tiles(generator: Generator, face: torch.Tensor, encoded: torch.Tensor, ws: torch.Tensor) -> Pixels:
    """Photo, encoder, refined and the edits of one face, side by side."""
    images = [face]
    with torch.inference_mode():
        images += [generator.synthesis(encoded), generator.synthesis(ws)]
    for name, alpha in EDITS:
        edited = edit_batch(generator, ws, deltafast.load_editor(name), alpha).images
        images.append(edited.reshape(1, *edited.shape[-3:]))
    size = (SHEET_PIXELS, SHEET_PIXELS)
    small = [torch.nn.functional.interpolate(image.float(), size, mode="area") for image in images]
    return np.hstack([to_arrays(image)[0] for image in small])


def _seconds(generator: Generator, paths: list[Path], settings: ProjectionSettings) -> dict[str, Any]:
    """Median wall-clock time of a photo, alignment included: encoder alone, and with all steps of refinement."""
    projector = Projector(generator, load_encoder(), settings, PHOTO_SIZE)
    reader = PhotoReader("auto", size=PHOTO_SIZE)
    target = projector.target(reader.read(paths[0]).faces[0].image)
    _ = projector.encode(target), projector.distance  # everything is loaded
    encoding, refining = [], []
    for path in paths:
        begin = time.perf_counter()
        target = projector.target(reader.read(path).faces[0].image)
        start = projector.encode(target)
        encoding.append(time.perf_counter() - begin)
        projector.refine(target, start, shared_base=False)
        refining.append(time.perf_counter() - begin)
    return {
        "threads": torch.get_num_threads(),
        "photos": len(paths),
        "encoder": round(statistics.median(encoding), 3),
        "refined": round(statistics.median(refining), 2),
    }


def _padded(line: Pixels, width: int) -> Pixels:
    return np.pad(line, ((0, 0), (0, width - line.shape[1]), (0, 0)), constant_values=255)


def markdown(figures: dict[str, Any]) -> str:
    """Return the table of the means."""
    lines = ["| | descriptor distance | cosine | landmark error | distance to W | seconds |", "| --- " * 6 + "|"]
    for stage in ("encoder", "refined"):
        mean, seconds = figures["mean"][stage], figures["seconds"][stage]
        lines.append(
            f"| {stage} | {mean['descriptor_distance']:.3f} (at most {mean['largest_descriptor_distance']:.3f}) "
            f"| {mean['descriptor_cosine']:.3f} | {mean['landmark_error']:.1%} | {mean['w_distance']:.2f} | {seconds} |"
        )
    different = figures["different_people"]
    lines.append(f"| different people | {different['mean']:.3f} (at least {different['smallest']:.3f}) | | | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
