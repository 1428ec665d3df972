"""`make gpu-bench`: on a machine with a GPU, build, time everything with CUDA events, and profile the syntheses.

Leaves `gpu-bench.json`: the machine, the headlines (ours against the best baseline, and the floor), every benchmark's
figures, and the per-kernel tables; beside it the pictures of these tables and the profiler's traces.
Ends with 0 where all benchmarks agreed with their reference and were timed, 1 otherwise, 3 where there is no GPU.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.gpu_machine import Steps, arguments, build, finish, require_gpu
from benchmarks.headlines import as_text, headlines, read_benchmarks

_PROFILED = ("stylegan2-f-1024", "mobilestylegan-1024")


def _time_everything(steps: Steps, *, rehearse: bool) -> list[dict[str, Any]]:
    """Run the benchmarks, the longest and most important first.

    Each part has a process and a JSON of its own and a share of the time that is left: one that is cut short costs
    only its own figures.
    """
    rows: list[dict[str, Any]] = []
    first = "benchmarks/test_generator_speed.py"
    runs = {"syntheses": ([first], 0.7), "ops": (["benchmarks", f"--ignore={first}"], 0.8)}
    for name, (what, share) in runs.items():
        with tempfile.TemporaryDirectory() as folder:
            timings = Path(folder) / "timings.json"
            command = [sys.executable, "-m", "pytest", "--benchmark", *(["--rehearse"] if rehearse else ["-m", "gpu"])]
            command += ["-q", "-p", "no:cacheprovider", f"--benchmark-json={timings}", *what]
            steps.run(name, command, share=share)
            found = read_benchmarks(timings) if timings.exists() and timings.stat().st_size else []
        if not found:
            steps.fail(name, "nothing was timed")
        rows += found
    return rows


def _profile(steps: Steps, results: Path, *, rehearse: bool) -> list[dict[str, Any]]:
    tables = []
    for subject in _PROFILED:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.profile_synthesis", folder, "--subject", subject]
            steps.run(f"profile of {subject}", [*command, *(["--rehearse", "--batch", "2"] if rehearse else [])])
            results.mkdir(parents=True, exist_ok=True)
            for path in sorted(Path(folder).iterdir()):
                if path.name.endswith(".kernels.json"):
                    tables.append(json.loads(path.read_text(encoding="utf-8")))
                else:
                    (results / f"gpu-bench.{path.name}").write_bytes(path.read_bytes())
    return tables


def main() -> None:
    """Run all steps and write the report."""
    options = arguments(__doc__ or "")
    machine = require_gpu("gpu-bench", options.data, rehearse=options.rehearse)
    steps = Steps(options.minutes * 60, options.data)
    report: dict[str, Any] = {"machine": machine, "headlines": [], "benchmarks": [], "profiles": []}
    if build(steps, machine):
        report["benchmarks"] = _time_everything(steps, rehearse=options.rehearse)
        report["headlines"] = headlines(report["benchmarks"])
        report["profiles"] = _profile(steps, options.results, rehearse=options.rehearse)
        print(as_text(report["headlines"]))
    finish("gpu-bench", steps, report, options.results)


if __name__ == "__main__":
    main()
