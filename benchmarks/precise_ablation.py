"""What each term of loss="precise" does: editors trained with and without it, on faces that no report shows.

    python -m benchmarks.precise_ablation LATENTS.safetensors --attribute smile \
      --out benchmarks/results/precise_ablation_smile.json

Trains an editor with the paper's loss, with the default of loss="precise" (or what `--set` makes of it), and with one
of its weights set otherwise, and compares each with LINEAR of the same latents at matched change of the attribute: the
person's descriptor distance and the leak into other measures, both read by dlib, which no loss sees. Faces are seeds
from 1000 on. A finished setting and every reading are kept, so the same command continues after a stop.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from deltafast.delta import DeltaConfig, Editor, LinearEditor, PreciseConfig, train_editor
from deltafast.errors import DeltafastError, InvalidInputError, ResumeError
from deltafast.evaluation.change_search import IDENTITY_DISTANCE, search_changes
from deltafast.evaluation.changes import CHANGE_AT_ONE
from deltafast.evaluation.directions import mean_change
from deltafast.evaluation.edit_curves import read_edits
from deltafast.evaluation.machine import describe_run
from deltafast.evaluation.matched import LEAK, match_methods
from deltafast.evaluation.readings import FaceReader
from deltafast.evaluation.statistics import bootstrap_mean, bootstrap_ratio, compare_paired, monotone_share
from deltafast.faces.attributes import TARGET_MEASURES
from deltafast.faces.meter import FaceMeter
from deltafast.files import read_json, write_json
from deltafast.generators.load import load_generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.memory import keep_freed_memory
from deltafast.sequence_latents import load_latents

FIRST_SEED = 1000
VARIATIONS: dict[str, dict[str, float]] = {
    "default": {},
    "identity=0": {"identity": 0.0},
    "leak=0": {"leak": 0.0},
    "leak=1": {"leak": 1.0},
    "leak=3": {"leak": 3.0},
    "steps=120": {"steps": 120},
    "undo=0": {"undo": 0.0},
    "latents=0": {"latents": 0.0},
    "psi=0.7": {"psi_low": 0.7, "psi_high": 0.7},
}


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    options = _parse(arguments)
    keep_freed_memory()
    try:
        result = run(options)
    except DeltafastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(as_table(result))
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("latents", type=Path, help="latents.safetensors from `deltafast project`")
    parser.add_argument("--attribute", required=True, choices=sorted(TARGET_MEASURES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("out/precise-ablation"), help="kept readings and editors")
    parser.add_argument("--faces", type=int, default=16)
    parser.add_argument("--extent", "--reach", type=float, default=1.0)
    parser.add_argument("--target-gain", "--asked-gain", type=float, default=1.0)
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE: another default; repeat")
    parser.add_argument("--vary", default=",".join(VARIATIONS), help=f"of {', '.join(VARIATIONS)}")
    options = parser.parse_args(arguments)
    options.vary = [name for name in options.vary.split(",") if name]
    unknown = [name for name in options.vary if name not in VARIATIONS]
    if unknown:
        parser.error(f"no variation {unknown[0]!r}; there are {', '.join(VARIATIONS)}")
    try:
        options.precise = replace(PreciseConfig(target_gain=options.target_gain), **_settings(options.set, parser))
    except InvalidInputError as error:
        parser.error(str(error))
    return options


def _settings(given: list[str], parser: argparse.ArgumentParser) -> dict[str, Any]:
    defaults, found = asdict(PreciseConfig()), {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            found[name] = type(defaults[name])(value)
        except (KeyError, ValueError):
            parser.error(f"--set takes NAME=VALUE of {', '.join(defaults)}; got {text!r}")
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure what is asked for; returns the result, which is also written, as JSON values."""
    latents = load_latents(options.latents)
    generator = load_generator(latents.generator.name)
    faces = latents_from_seeds(generator, range(FIRST_SEED, FIRST_SEED + options.faces), 0.7)
    settings = {
        "attribute": options.attribute,
        "latents": latents.digest(options.attribute),
        "faces": options.faces,
        "extent": options.extent,
        "precise": asdict(options.precise),
    }
    result: dict[str, Any] = {"run": describe_run(), "settings": settings, "rows": {}}
    if options.out.exists():
        found = read_json(options.out)
        if found.get("settings") != settings:
            raise ResumeError(f"{options.out} was made with other settings; choose another --out")
        result = found
    reader = FaceReader(generator, FaceMeter(), options.work / "readings")

    paper = DeltaConfig(extent=options.extent)
    rows = {"paper": paper}
    for name in options.vary:
        rows[name] = replace(paper, loss="precise", precise=replace(options.precise, **VARIATIONS[name]))
    for name, config in rows.items():
        if name in result["rows"]:
            continue
        began = time.perf_counter()
        editor = train_editor(latents, options.attribute, config, generator=generator, plot=False)
        seconds = time.perf_counter() - began
        result["rows"][name] = _compare(reader, faces, editor) | {"training_s": round(seconds, 1)}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.out, result)
    return result


def _compare(reader: FaceReader, faces: Tensor, editor: Editor) -> dict[str, Any]:
    """Costs of an editor and of LINEAR where both have changed the same faces by the attribute's `CHANGE_AT_ONE`."""
    attribute = editor.attribute
    found = {}
    for name, one in {"ours": editor, "linear": LinearEditor.of(editor)}.items():
        at_one = mean_change(reader, one, faces) / 2
        found[name] = search_changes(reader, one, attribute, faces, (CHANGE_AT_ONE[attribute],), at_one)
    (matched,) = match_methods(found, "ours")
    ours = read_edits(reader, editor, attribute, faces)
    row: dict[str, Any] = {
        "change": bootstrap_mean(ours.target_change()[:, -1]).as_json(),
        "monotone": monotone_share(ours.target()),
        "identity_at_1": bootstrap_mean(ours.distance()[:, -1]).as_json(),
    }
    for cost in (IDENTITY_DISTANCE, LEAK):
        if "linear" in matched.methods:
            costs = [matched.costs[name][cost] for name in ("ours", "linear")]
            difference, verdict = compare_paired(*costs)
            row[cost] = {
                "share_of_linear": bootstrap_ratio(*costs).mean,
                "ours_minus_linear": difference.as_json(),
                "ours_is": verdict,
            }
    return row


def as_table(result: dict[str, Any]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| loss | change at α = 1 | identity distance, of LINEAR's | leak, of LINEAR's |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in result["rows"].items():
        cells = [f"{row['change']['mean']:.3g}"]
        for cost in (IDENTITY_DISTANCE, LEAK):
            found = row.get(cost)
            cells.append("-" if found is None else f"{100 * found['share_of_linear']:.0f} % ({found['ours_is']})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
