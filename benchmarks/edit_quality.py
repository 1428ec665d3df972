"""How good the bundled (or any) editors are on sampled faces, beside LINEAR with the same slots and projections.

    python benchmarks/edit_quality.py --editors yaw,smile,light --out benchmarks/results/edit_quality.json

edits the faces of seeds 0..63 (psi 0.7) to alpha -1, -0.5, 0, 0.5 and 1, measures the images with dlib's landmarks and
face descriptor, and writes one JSON file and prints it as Markdown. Images and measurements are kept in `--work`, so
the same command continues after a stop. Tune on seeds from 1000 on (`--faces 1000-1031`), never on those reported.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import deltafast
from deltafast.delta.editor import LatentEditor, load_editor
from deltafast.delta.linear import LinearEditor, linear_editor
from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.evaluation.edit_quality import (
    ALPHAS,
    EditCurves,
    between_faces,
    compare_at_matched_change,
    extend_weaker,
    read_edits,
    summarise,
)
from deltafast.evaluation.machine import describe_run
from deltafast.evaluation.readings import FaceReader
from deltafast.faces.meter import FaceMeter
from deltafast.files import write_json, write_png
from deltafast.generators.seeds import latents_from_seeds
from deltafast.memory import keep_freed_memory
from deltafast.sequence_latents import load_latents

ASSETS = Path(deltafast.__file__).resolve().parent / "assets"
FIRST_TUNING_SEED = 1000
LEAST_MONOTONE = 0.90
MOST_IDENTITY_DISTANCE = 0.30
LEAST_YAW = 20.0  # degrees from alpha -1 to 1
LEAST_MOUTH_SHARE = 0.20  # of the mean mouth width
LEAST_SHADING_RATIO = 1.5
SHEET_FACES = 6
SHEET_PIXELS = 160


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    keep_freed_memory()
    options = parse(arguments)
    try:
        result = run(options)
        write_json(options.out, result)
    except DeltafastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(markdown(result))
    print(f"written to {options.out}")
    return 0


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--editors", default="yaw,smile,light", help="bundled names or editor files, by commas")
    parser.add_argument("--linear-only", action="store_true", help="--editors are attributes; measure only LINEAR")
    parser.add_argument("--latents", type=Path, help="with --linear-only: the projected sequences to take LINEAR from")
    parser.add_argument("--slots", help="W+ slots of LINEAR with --linear-only, as 0-5 or 3,4,7")
    parser.add_argument("--generator", default="mobilestylegan-ffhq", help="name or checkpoint")
    parser.add_argument("--faces", default="0-63", help="seeds, as 0-63 or 1000,1004")
    parser.add_argument("--psi", type=float, default=0.7, help="truncation of the sampled faces")
    parser.add_argument("--tuning", action="store_true", help="refuse seeds below 1000, which are for reporting only")
    parser.add_argument("--compile", action="store_true", help="compile the generator: slow first image, fast others")
    parser.add_argument("--work", type=Path, default=Path("out/edit-quality"), help="folder of kept images")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/edit_quality.json"))
    parser.add_argument("--sheet", type=Path, help="write a contact sheet PNG of the first faces, ours over LINEAR")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure all editors; returns the JSON values."""
    started = time.perf_counter()
    seeds = number_list(options.faces)
    if options.tuning and min(seeds) < FIRST_TUNING_SEED:
        raise InvalidInputError(f"--tuning uses seeds from {FIRST_TUNING_SEED} on, --faces asks for {min(seeds)}")
    meter = FaceMeter()
    generator = deltafast.load_generator(options.generator)
    reader = FaceReader(generator, meter, options.work, compiled=options.compile)
    latents = latents_from_seeds(generator, seeds, options.psi)  # [N, L, D]
    unedited = reader.read(latents, "unedited faces")
    result: dict[str, Any] = {
        "run": describe_run(),
        "generator": {"name": generator.name, "fingerprint": generator.fingerprint},
        "faces": {"seeds": seeds, "psi": options.psi, "without_face": unedited.missing},
        "between_different_faces": between_faces(unedited.descriptors),
        "spread_of_measures": {
            name: {"mean": float(np.nanmean(values)), "std": float(np.nanstd(values))}
            for name, values in unedited.measures.items()
        },
        "editors": {},
    }
    rows: list[Tensor] = []  # latents of the contact sheet, [faces * alphas, L, D] each
    for name in options.editors.split(","):
        ours, linear = editors(name.strip(), generator, options)
        entry, edits = judge(reader, ours, linear, latents)
        result["editors"][linear.attribute] = entry
        rows += edits
    result["seconds"] = round(time.perf_counter() - started, 1)
    result["images_synthesised"] = reader.synthesised
    if options.sheet:
        write_sheet(options.sheet, reader, rows)
    return result


def editors(
    name: str, generator: deltafast.Generator, options: argparse.Namespace
) -> tuple[LatentEditor | None, LatentEditor]:
    """Return ours (None with `--linear-only`) and LINEAR with its slots, identities and projections."""
    if options.linear_only:
        sequences = load_latents(options.latents or default_latents())
        slots = number_list(options.slots) if options.slots else None
        return None, linear_editor(sequences, name, slots).for_generator(generator)
    ours = load_editor(name)
    return ours.for_generator(generator), LinearEditor.of(ours).for_generator(generator)


def judge(
    reader: FaceReader, ours: LatentEditor | None, linear: LatentEditor, latents: Tensor
) -> tuple[dict[str, Any], list[Tensor]]:
    """Measure one attribute's editors; returns JSON values, and the latents of their rows on the sheet."""
    attribute = linear.attribute
    theirs = read_edits(reader, linear, attribute, latents, ALPHAS, f"{attribute}, LINEAR")
    entry: dict[str, Any] = {"slots": list(linear.slots), "linear": with_verdicts(theirs)}
    shown = [sheet_row(linear, latents)]
    if ours is None:
        return entry, shown
    mine = read_edits(reader, ours, attribute, latents, ALPHAS, f"{attribute}, ours")
    entry["ours"] = with_verdicts(mine)
    for _ in range(8):
        more_mine, more_theirs = extend_weaker(mine, theirs)
        if not (more_mine or more_theirs):
            break
        if more_mine:
            mine = mine.joined(read_edits(reader, ours, attribute, latents, more_mine, f"{attribute}, ours further"))
        if more_theirs:
            more = read_edits(reader, linear, attribute, latents, more_theirs, f"{attribute}, LINEAR further")
            theirs = theirs.joined(more)
    entry["matched"] = compare_at_matched_change(mine, theirs)
    return entry, [sheet_row(ours, latents), *shown]


def with_verdicts(curves: EditCurves) -> dict[str, Any]:
    """Return an editor's figures, and which of the wanted ones are reached."""
    figures = summarise(curves)
    total = figures["total_change"]["mean"]
    reached = {
        "monotone": figures["monotone_share"] >= LEAST_MONOTONE,
        "identity": at_most(figures["identity_distance_at_1"]["mean"], MOST_IDENTITY_DISTANCE),
    }
    if curves.attribute == "yaw":
        reached["change"] = at_least(total, LEAST_YAW)
    elif curves.attribute == "smile":
        figures["change_as_share"] = None if total is None else total / figures["unedited_mean"]
        reached["change"] = at_least(figures["change_as_share"], LEAST_MOUTH_SHARE)
    elif curves.attribute == "light":
        figures["change_as_ratio"] = None if total is None else math.exp(total)
        reached["change"] = at_least(figures["change_as_ratio"], LEAST_SHADING_RATIO)
    return {**figures, "reached": reached}


def at_least(value: float | None, wanted: float) -> bool:
    """Say whether a figure is there and large enough."""
    return value is not None and value >= wanted


def at_most(value: float | None, wanted: float) -> bool:
    """Say whether a figure is there and small enough."""
    return value is not None and value <= wanted


def sheet_row(editor: LatentEditor, latents: Tensor) -> Tensor:
    """Return the latents of a row of the contact sheet: its faces, each along the alphas."""
    with torch.inference_mode():
        edited = [editor.edit(latents[:SHEET_FACES], alpha) for alpha in ALPHAS]
    return torch.stack(edited, dim=1)  # [faces, alphas, L, D]


def write_sheet(path: Path, reader: FaceReader, rows: list[Tensor]) -> None:
    """Write the contact sheet: one line for each editor and face, alphas from left to right."""
    from PIL import Image

    lines = []
    for row in rows:
        for face in row:
            images = [Image.fromarray(reader.image(ws)).resize((SHEET_PIXELS, SHEET_PIXELS)) for ws in face]
            lines.append(np.concatenate([np.asarray(image) for image in images], axis=1))
    write_png(path, np.concatenate(lines, axis=0))


def default_latents() -> Path:
    """Return the bundled latents. Raises `InvalidInputError` where there is not exactly one file of them."""
    found = sorted((ASSETS / "latents").glob("*.safetensors"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InvalidInputError(f"which projected sequences? bundled are: {names}; give a file by --latents")
    return found[0]


def number_list(text: str) -> list[int]:
    """Read whole numbers such as "0-63" or "3,4,7-9". Raises `InvalidInputError` for anything else."""
    numbers: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.strip().partition("-")
            numbers += range(int(first), int(last if dash else first) + 1)
    except ValueError as error:
        raise InvalidInputError(f"expected numbers such as 0-63 or 3,4,7, got {text!r}") from error
    if not numbers or len(set(numbers)) != len(numbers):
        raise InvalidInputError(f"expected numbers such as 0-63 or 3,4,7, each once; got {text!r}")
    return numbers


def markdown(result: dict[str, Any]) -> str:
    """Return the figures as Markdown tables."""
    between = result["between_different_faces"]
    lines = [
        f"Faces: {len(result['faces']['seeds'])} (psi {result['faces']['psi']}); descriptor distance between different "
        f"faces: mean {number(between.get('mean'))}, 5th percentile {number(between.get('percentile_5'))}.",
        "",
        "| editor | method | measure | change from -1 to 1 | monotone | R² | identity distance at 1 | leak per unit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for attribute, entry in result["editors"].items():
        for method in ("ours", "linear"):
            if method in entry:
                lines.append(_row(attribute, method, entry[method]))
    lines += [
        "",
        "At matched change (lower is better; brackets: 95 % bootstrap interval of ours - LINEAR):",
        "",
        "| editor | change | cost | ours | LINEAR | difference | ours is |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for attribute, entry in result["editors"].items():
        if "matched" not in entry:
            continue
        matched = entry["matched"]
        for cost, figures in matched["costs"].items():
            difference = figures["difference"]
            lines.append(
                f"| {attribute} | {number(matched['target_change']['mean'])} | {cost} "
                f"| {number(figures['ours']['mean'])} | {number(figures['theirs']['mean'])} "
                f"| {number(difference['mean'])} [{number(difference['low'])}, {number(difference['high'])}] "
                f"| {figures['verdict']} |"
            )
    return "\n".join(lines) + "\n"


def _row(attribute: str, method: str, figures: dict[str, Any]) -> str:
    change = number(figures["total_change"]["mean"])
    if figures.get("change_as_share") is not None:
        change += f" ({100 * figures['change_as_share']:.0f} % of the mean)"
    if figures.get("change_as_ratio") is not None:
        change += f" (ratio {figures['change_as_ratio']:.2f})"
    leak = ", ".join(f"{name} {number(values['per_unit_of_target'])}" for name, values in figures["leak"].items())
    missed = [name for name, reached in figures["reached"].items() if not reached]
    return (
        f"| {attribute} | {method} | {figures['measure']} | {change} | {100 * figures['monotone_share']:.0f} % "
        f"| {number(figures['r2']['mean'])} | {number(figures['identity_distance_at_1']['mean'])}"
        f"{' (missed: ' + ', '.join(missed) + ')' if missed else ''} | {leak} |"
    )


def number(value: float | None) -> str:
    """Write a figure with three significant digits."""
    return "-" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
