"""A training step of E and D, and edits, on the CPU: ours beside plain torch, interleaved, checked first.

    python -m benchmarks.cpu_delta [--out benchmarks/results/cpu_delta.json] [--rounds 40]

Both sides keep freed memory, as the commands do. Writes medians and quartiles in seconds, their ratios, and the run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.clock import in_turns, median_and_quartiles
from benchmarks.delta_cases import EditCase, FlowCase, TrainingCase
from deltafast.evaluation.machine import describe_run
from deltafast.memory import keep_freed_memory

_WARM_UP = 3
_FAR = 4 / 3  # alpha of 40 degrees, where 1 is 30


def interleaved(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, Any]:
    """Time contenders in turn, `rounds` times each, after a warm-up; return medians, quartiles and ratios."""
    seconds = in_turns(contenders, rounds, _WARM_UP)
    result: dict[str, Any] = {name: median_and_quartiles(taken) for name, taken in seconds.items()}
    plain, ours = result["plain torch"]["median_s"], result["deltafast"]["median_s"]
    result["speedup"] = plain / ours
    result["speedup_of_each_round"] = statistics.median(
        theirs / own for theirs, own in zip(seconds["plain torch"], seconds["deltafast"], strict=True)
    )
    return result


def _edits(edit: EditCase | FlowCase, rounds: int, latents: int) -> dict[str, Any]:
    contenders = {"deltafast": lambda: edit.ours(edit.ws), "plain torch": lambda: edit.plain(edit.ws)}
    measured = interleaved(contenders, rounds)
    for name in contenders:
        measured[name]["latents_per_second"] = latents / measured[name]["median_s"]
    return measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu_delta.json"))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--pairs", type=int, nargs="+", default=[8, 64], help="pairs of identities in a step")
    parser.add_argument("--latents", type=int, default=1024, help="latents edited in one call")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    device = torch.device("cpu")
    results: dict[str, Any] = {}
    for pairs in options.pairs:
        case = TrainingCase(pairs)
        case.check(device)
        contenders = {"deltafast": case.ours(device).advance, "plain torch": case.plain(device).advance}
        results[f"training step, {pairs} pairs of identities"] = interleaved(contenders, options.rounds)
    with torch.no_grad():
        for name, edit in (
            (f"edit, {options.latents} latents", EditCase(options.latents, device)),
            (f"flow to alpha {_FAR:.2f}, {options.latents} latents", FlowCase(options.latents, device, _FAR)),
        ):
            edit.check()
            results[name] = _edits(edit, options.rounds, options.latents)
    report = {"run": describe_run(), "rounds": options.rounds, "results": results}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for name, result in results.items():
        ours, plain = (1e3 * result[who]["median_s"] for who in ("deltafast", "plain torch"))
        print(f"{name}: {ours:.2f} ms, plain torch {plain:.2f} ms, {result['speedup']:.2f} x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
