"""How well projected latents show the heads that were rendered: landmarks, identity and pixels, frame by frame.

    python benchmarks/reconstruction.py SEQUENCES LATENTS --out benchmarks/results/reconstruction.json

SEQUENCES is a folder that `deltafast render` wrote, LATENTS the file that `deltafast project` made of it. Writes JSON,
a Markdown table and a contact sheet (renders over reconstructions) beside each other.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

import deltafast
from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.evaluation.machine import describe_run
from deltafast.evaluation.readings import IMAGE_SIZE, to_pixels
from deltafast.faces.attributes import MEASURES, TARGET_MEASURES, measure_attributes
from deltafast.faces.comparison import identity_cosine, identity_distance, landmark_error
from deltafast.faces.meter import FaceMeter
from deltafast.files import atomic_write, read_image, sha256_file, write_json, write_png
from deltafast.memory import keep_freed_memory
from deltafast.progress import track
from deltafast.sequence_latents import SequenceLatents, load_latents
from deltafast.sequence_manifest import MANIFEST_NAME, FrameRecord, Manifest, load_manifest

Pixels = NDArray[np.uint8]

SHEET_PIXELS = 128


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    keep_freed_memory()
    options = parse(arguments)
    try:
        table = run(options)
    except DeltafastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table)
    print(f"written to {options.out}, {options.out.with_suffix('.md').name}, {options.out.with_suffix('.png').name}")
    return 0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sequences", type=Path, help="folder with manifest.json, as `deltafast render` writes it")
    parser.add_argument("latents", type=Path, help="latents.safetensors, as `deltafast project` writes it")
    parser.add_argument("--generator", default="mobilestylegan-ffhq", help="name or checkpoint")
    parser.add_argument("--identities", help="only these, by commas (default: all in the latents)")
    parser.add_argument("--compile", action="store_true", help="compile the generator: slow first image, fast others")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/reconstruction.json"))
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> str:
    """Measure all frames, write JSON, Markdown and sheet; returns the Markdown table."""
    latents = load_latents(options.latents)
    if options.identities:
        latents = latents.select(options.identities.split(","))
    manifest = load_manifest(options.sequences)
    frames = read_frames(manifest, latents)
    meter = FaceMeter()
    generator = deltafast.load_generator(options.generator)
    if generator.fingerprint != latents.generator.fingerprint:
        raise InvalidInputError(
            f"{options.latents} holds latents of {latents.generator.name} with weights "
            f"{latents.generator.fingerprint[:12]}, not of {generator.name} with {generator.fingerprint[:12]}"
        )
    synthesis = generator.compiled() if options.compile else generator.synthesis
    rows = []
    pairs: dict[tuple[str, str], list[tuple[Pixels, Pixels]]] = {}
    for frame in track(frames, "reconstructions"):
        render = read_image(manifest.path(frame))  # [S, S, 3]
        ws = latents.latents[frame.attribute, frame.identity][frame.index]  # [L, D]
        with torch.inference_mode():
            shown = to_pixels(synthesis(ws[None]), IMAGE_SIZE)[0]  # [S, S, 3]
        resized = resize(shown, render.shape[0])
        rows.append({**describe(frame), **compare(meter, render, shown, resized)})
        pairs.setdefault((frame.attribute, frame.identity), []).append((render, resized))
    sequences = [summary(key, rows) for key in pairs]
    overall = summary(None, rows)
    result = {
        "run": describe_run(),
        "generator": {"name": generator.name, "fingerprint": generator.fingerprint},
        "latents_sha256": sha256_file(options.latents),
        "manifest_sha256": sha256_file(options.sequences / MANIFEST_NAME),
        "sequences": sequences,
        "all": overall,
        "frames": rows,
    }
    write_json(options.out, result)
    table = markdown([*sequences, overall])
    with atomic_write(options.out.with_suffix(".md")) as temporary:
        temporary.write_text(table, encoding="utf-8")
    write_png(options.out.with_suffix(".png"), sheet(list(pairs.values())))
    return table


def read_frames(manifest: Manifest, latents: SequenceLatents) -> list[FrameRecord]:
    """Return the frames that the latents cover, sequence by sequence.

    Raises `InvalidInputError` where a sequence is missing or has another number of frames.
    """
    frames = []
    for (attribute, identity), tensor in sorted(latents.latents.items()):
        found = manifest.sequence(attribute, identity)
        if len(found) != len(tensor):
            raise InvalidInputError(
                f"the latents hold {len(tensor)} frames of {attribute}/{identity}, {manifest.folder} has {len(found)}; "
                "project these sequences again"
            )
        frames += found
    return frames


def describe(frame: FrameRecord) -> dict[str, Any]:
    """Return a frame's place as JSON values."""
    return {
        "attribute": frame.attribute,
        "identity": frame.identity,
        "index": frame.index,
        "value": frame.value,
        "file": frame.file,
    }


def compare(meter: FaceMeter, render: Pixels, shown: Pixels, resized: Pixels) -> dict[str, Any]:
    """Compare a render with its reconstruction (`shown`, and `resized` to the render's size); None without faces."""
    result: dict[str, Any] = {"psnr": finite(float(peak_signal_noise_ratio(render, resized)))}
    target, face = meter.measure(render), meter.measure(shown)
    names = ("landmark_error", "descriptor_cosine", "descriptor_distance")
    if target is None or face is None:
        return {**result, **dict.fromkeys(names), "render": None, "reconstruction": None}
    scale = render.shape[0] / shown.shape[0]
    landmarks = (face.landmarks + 0.5) * scale - 0.5  # [68, 2]
    return {
        **result,
        "landmark_error": landmark_error(target.landmarks, landmarks),
        "descriptor_cosine": float(identity_cosine(target.descriptor, face.descriptor)),
        "descriptor_distance": float(identity_distance(target.descriptor, face.descriptor)),
        "render": measures(render, target.landmarks),
        "reconstruction": measures(shown, face.landmarks),
    }


def measures(image: Pixels, landmarks: NDArray[np.float64]) -> dict[str, float | None]:
    """Return all measures of a face as JSON values."""
    return {name: finite(value) for name, value in measure_attributes(image, landmarks).items()}


def summary(key: tuple[str, str] | None, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Average the frames of one sequence (or of all): errors, and how its target measure follows the render's."""
    chosen = [row for row in rows if key is None or (row["attribute"], row["identity"]) == key]
    result: dict[str, Any] = {
        "attribute": key[0] if key else "all",
        "identity": key[1] if key else "all",
        "frames": len(chosen),
        "frames_without_face": sum(row["render"] is None for row in chosen),
    }
    for name in ("landmark_error", "descriptor_cosine", "descriptor_distance", "psnr"):
        values = [row[name] for row in chosen if row[name] is not None]
        result[name] = float(np.mean(values)) if values else None
    if key is not None and key[0] in TARGET_MEASURES:
        name = TARGET_MEASURES[key[0]][0]
        both = [(row["render"][name], row["reconstruction"][name]) for row in chosen if row["render"]]
        both = [pair for pair in both if None not in pair]
        if len(both) > 1:
            wanted, got = np.array(both).T
            result["measure"] = name
            result["unit"] = MEASURES[name]
            result["range_in_render"] = float(np.ptp(wanted))
            result["slope_against_render"] = finite(float(np.polyfit(wanted, got, 1)[0])) if np.ptp(wanted) else None
            result["rms_error"] = float(np.sqrt(np.mean((got - wanted) ** 2)))
    return result


def markdown(sequences: list[dict[str, Any]]) -> str:
    """Return the table of sequences."""
    lines = [
        "| attribute | identity | landmark error | descriptor cosine | descriptor distance | PSNR (dB) "
        "| measure follows the render by | frames without a face |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in sequences:
        error = "-" if row["landmark_error"] is None else f"{100 * row['landmark_error']:.1f} %"
        slope = row.get("slope_against_render")
        follows = "-" if slope is None else f"{slope:.2f} ({row['measure']})"
        lines.append(
            f"| {row['attribute']} | {row['identity']} | {error} | {number(row['descriptor_cosine'])} "
            f"| {number(row['descriptor_distance'])} | {number(row['psnr'])} | {follows} "
            f"| {row['frames_without_face']} of {row['frames']} |"
        )
    lines += [
        "",
        "Landmark error: mean distance of dlib's 68 landmarks on render and reconstruction, as a share of the "
        "inter-ocular distance. The measure follows the render by the slope of a line through the frames; 1 is exact.",
    ]
    return "\n".join(lines) + "\n"


def sheet(sequences: list[list[tuple[Pixels, Pixels]]]) -> Pixels:
    """Lay out every sequence as a row of renders over a row of reconstructions."""
    width = max(len(pairs) for pairs in sequences) * SHEET_PIXELS
    lines = []
    for pairs in sequences:
        for which in (0, 1):
            line = np.full((SHEET_PIXELS, width, 3), 255, dtype=np.uint8)
            for k, pair in enumerate(pairs):
                line[:, k * SHEET_PIXELS : (k + 1) * SHEET_PIXELS] = resize(pair[which], SHEET_PIXELS)
            lines.append(line)
        lines.append(np.full((4, width, 3), 255, dtype=np.uint8))
    return np.concatenate(lines, axis=0)


def resize(image: Pixels, size: int) -> Pixels:
    """Resize a square image: area means downwards, bicubic upwards."""
    way = Image.Resampling.BOX if image.shape[0] > size else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((size, size), way))


def finite(value: float) -> float | None:
    """Return a JSON value: None in place of NaN and infinity."""
    return value if math.isfinite(value) else None


def number(value: float | None) -> str:
    """Write a figure with three significant digits."""
    return "-" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
