"""Which E and D predict identities they never saw: sweeps over slots, widths, Δ, noise, λ and number of identities.

    python benchmarks/delta_ablation.py LATENTS.safetensors --attribute yaw --out benchmarks/results/delta_ablation.json

varies one setting at a time from the default, trains each with `--seeds` seeds (each with its own held-out identities),
and writes relative squared errors on those identities beside LINEAR's (see `deltafast.delta.held_out`) as one JSON
file. A finished setting is kept in that file, so the same command continues after a stop. These errors rank settings
that move the *same* slots; which slots to move must be judged on images (`deltafast evaluate`).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deltafast.delta import DeltaConfig, train_editor
from deltafast.delta.held_out import held_out_errors
from deltafast.delta.slots import parse_slots
from deltafast.errors import DeltafastError, InvalidInputError, ResumeError
from deltafast.evaluation.machine import describe_run
from deltafast.files import read_json, write_json
from deltafast.sequence_latents import SequenceLatents, load_latents

VARIATIONS: dict[str, tuple[Any, ...]] = {
    "width": (16, 64, 128),
    "dim": (2, 4, 8, 32),
    "layers": (2,),
    "noise_encoder": (0.0, 0.03, 0.3, 1.0),
    "noise_decoder": (0.0, 0.1, 1.0, 2.0),
    "lambda_a": (0.0, 0.3, 3.0),
    "identities": (2, 4, 8, 16, 32),
    "steps": (250, 500, 2000),
    "lr": (5e-4, 8e-3),
    "negative": ("other-end", "scale"),
}
METRICS = ("transfer", "linear_transfer", "mean_delta", "linear_mean", "reconstruction", "edit", "linear_edit")
METRICS += ("edit_negative", "linear_edit_negative", "offset")


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    options = parse(arguments)
    try:
        run(options)
    except DeltafastError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("latents", type=Path, help="latents.safetensors from `deltafast project`")
    parser.add_argument("--attribute", required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--held-out", type=int, default=8, help="identities held out in each run")
    parser.add_argument("--seeds", type=int, default=2, help="runs for each setting")
    parser.add_argument("--steps", type=int, default=DeltaConfig().steps, help="steps of the default setting")
    parser.add_argument("--slots", help="W+ slots, such as 0-5; the recommended ones unless given")
    parser.add_argument("--vary", default=",".join(VARIATIONS), help="comma-separated settings to vary")
    return parser.parse_args(arguments)


def settings_of(options: argparse.Namespace, trainable: int) -> dict[str, DeltaConfig]:
    """Return name to config: the default and every variation that `trainable` identities allow."""
    slots = None if options.slots is None else parse_slots(options.slots)
    default = DeltaConfig(slots=slots, steps=options.steps)
    found = {"default": default}
    for field in options.vary.split(","):
        if field not in VARIATIONS:
            raise InvalidInputError(f"--vary knows {', '.join(VARIATIONS)}; got {field!r}")
        for value in VARIATIONS[field]:
            if field != "identities" or value <= trainable:
                found[f"{field}={value}"] = replace(default, **{field: value})
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train and measure every setting that the result file does not hold yet; returns what the file holds."""
    latents = load_latents(options.latents)
    configs = settings_of(options, len(latents.identities) - options.held_out)
    task = {
        "attribute": options.attribute,
        "latents": latents.digest(options.attribute),
        "identities": len(latents.identities),
        "held_out": options.held_out,
        "seeds": options.seeds,
        "slots": options.slots,
        "steps": options.steps,
    }
    result: dict[str, Any] = {"task": task, "settings": {}}
    if options.out.exists():
        result = read_json(options.out)
        if result.get("task") != task:
            raise ResumeError(f"{options.out} holds another task's results; choose another --out")
    for name, config in configs.items():
        if name not in result["settings"]:
            result["settings"][name] = measure(latents, options, config)
            result["run"] = describe_run()
            write_json(options.out, result)
        print(line(name, result["settings"][name]), flush=True)
    return result


def measure(latents: SequenceLatents, options: argparse.Namespace, config: DeltaConfig) -> dict[str, Any]:
    """Train one setting with every seed; returns its errors on held-out identities, run by run and on average."""
    runs, seconds = [], []
    for seed in range(options.seeds):
        training, held_out = latents.split_identities(options.held_out, seed=seed)
        start = time.perf_counter()
        editor = train_editor(training, options.attribute, replace(config, seed=seed))
        seconds.append(time.perf_counter() - start)
        used = training.select(training.identities[: editor.info.training["identities"]])
        runs.append(asdict(held_out_errors(editor, used, held_out)))
    mean = {m: None if runs[0][m] is None else statistics.fmean(r[m] for r in runs) for m in METRICS}
    return {"mean": mean, "runs": runs, "seconds": [round(s, 2) for s in seconds]}


def line(name: str, measured: dict[str, Any]) -> str:
    """Return one setting's averages as a line of text."""
    shown = (f"{m} {v:.4f}" for m, v in measured["mean"].items() if v is not None)
    return f"{name:<20} {'  '.join(shown)}"


if __name__ == "__main__":
    sys.exit(main())
