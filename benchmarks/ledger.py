"""docs/gpu-verified.md, written from what `make gpu` left: what has been seen to work on a GPU, and how fast.

    python -m benchmarks.ledger [--results benchmarks/results] [--out docs/gpu-verified.md]

Nobody edits that page by hand; a test compares it with the committed results.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.gpu_kernels import KERNELS, Kernel
from benchmarks.gpu_machine import ROOT

Report = dict[str, Any]

_STEPS = ("build", "kernels", "networks", "speed", "tests", "sanitizer", "profile")
_NOT_RUN = "not yet run"
_NETWORKS = {
    "golden": "syntheses, eager, against golden images, in fp32, fp16 and bf16",
    "graph": "`generator.compiled(batch_size)`, synthesis as a CUDA graph",
    "compiled": "`generator.compiled()`, synthesis under torch.compile, with its gradient",
    "training": "training E and D: single steps, and as a CUDA graph",
    "precise": '`loss="precise"`, training E and D through the generator',
}
_HEAD = """# What has been seen to work on a GPU

Written by `python -m benchmarks.ledger` from the JSON that `make gpu` leaves in benchmarks/results; not to be edited by
hand. Nothing in this project claims more for CUDA than this page.

Correct: results and gradients within the table of tolerances of float64, in fp32, fp16 and bf16. compute-sanitizer:
memcheck, racecheck and synccheck on small sizes. Speed: the median of the longest case, with cold caches; share of the
floor: from the worst case to the best, the floor being the larger of the times for the bytes and the operations, at
rates measured in the same run.
"""
_FOOT = """
That all kernels compile for every default architecture is checked by the ordinary build wherever nvcc is found; that
none spills registers, by a test that reads the machine code. And the tests for GPUs run on a CPU, on an
[emulation](../csrc/README.md#cuda-kernels-on-a-cpu) of the kernels: results and gradients in fp32, fp16 and bf16, every
layout and odd size, barriers, shuffles and bounds of shared memory. That is no run on a GPU, and no row counts it.
"""


def read_reports(folder: Path) -> dict[str, Report]:
    """Return the steps' reports that there are. Raises SystemExit for a rehearsal's, which proves nothing."""
    reports = {}
    for step in _STEPS:
        path = folder / f"gpu-{step}.json"
        if path.exists():
            reports[step] = json.loads(path.read_text(encoding="utf-8"))
            if reports[step]["machine"].get("rehearsal"):
                raise SystemExit(f"ledger: {path} is of a rehearsal; remove it, or name another folder with --results")
    return reports


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _table(heads: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [_row(heads), _row("---" for _ in heads), *(_row(row) for row in rows)]


def _where(report: Report) -> list[str]:
    machine = report["machine"]
    return [machine["gpu"], f"{machine['torch']}, CUDA {machine['torch_cuda']}", f"`{machine['commit']}`"]


def _part(report: Report | None, name: str) -> Report | None:
    parts = [] if report is None else report["parts"]
    return next((part for part in parts if part["name"] == name), None)


def _correct(part: Report, direction: str) -> str:
    rows = [row for row in part["evidence"] if "error" in row and (not direction or row["direction"] == direction)]
    concerned = [row for row in part["evidence"] if not direction or row.get("direction", direction) == direction]
    wrong = [row for row in concerned if not row["ok"]]
    if wrong:
        return f"**no**: {wrong[0]['name']}, {wrong[0].get('reason', '')}".rstrip(", ")
    if not part["ok"] and not rows:
        return f"**no**: {part['reason']}"
    return f"yes, {len(rows)} results" if rows else _NOT_RUN


def _sanitized(report: Report | None, op: str) -> str:
    clean, other = [], []
    for part in [] if report is None else report["parts"]:
        tool, _, name = part["name"].partition(" ")
        if name == op:
            clean += [tool] if part["ok"] else []
            other += [] if part["ok"] else [f"**{tool}: {part['reason']}**"]
    return ", ".join([*(f"{tool} clean" for tool in clean), *other]) or _NOT_RUN


def _timings(report: Report | None) -> list[Report]:
    parts = [] if report is None else report["parts"]
    return [row for part in parts for row in part["evidence"] if "median_s" in row and "case" in row]


def _speed(kernel: Kernel, rows: list[Report]) -> list[str]:
    ours = [row for row in rows if kernel.timed_as and row["case"].startswith(kernel.timed_as) and not row["baseline"]]
    if not ours:
        return ["", ""]
    longest = max(ours, key=lambda row: row["median_s"])
    shares = [row["share_of_floor"] for row in ours if "share_of_floor" in row]
    text = f"{1e3 * longest['median_s']:.3f} ms, {longest['case']}"
    return [text, f"{min(shares):.0%} to {max(shares):.0%}" if shares else ""]


def _kernel_row(kernel: Kernel, reports: dict[str, Report]) -> list[str]:
    part = _part(reports.get("kernels"), kernel.op)
    if part is None:
        return [kernel.name, _NOT_RUN, "", "", "", "", "", ""]
    where = _where(reports["kernels"])
    checked = [_correct(part, kernel.direction), _sanitized(reports.get("sanitizer"), kernel.op)]
    return [kernel.name, *where, *checked, *_speed(kernel, _timings(reports.get("speed")))]


def _network_row(name: str, what: str, reports: dict[str, Report]) -> list[str]:
    part = _part(reports.get("networks"), name)
    return [what, _NOT_RUN, "", "", ""] if part is None else [what, *_where(reports["networks"]), _correct(part, "")]


def _tests_row(reports: dict[str, Report]) -> list[str]:
    what = "the tests for GPUs"
    if "tests" not in reports:
        return [what, _NOT_RUN, "", "", ""]
    rows = [row for part in reports["tests"]["parts"] for row in part["evidence"]]
    failed = sum(not row["ok"] for row in rows)
    said = f"{len(rows) - failed} passed, {failed} failed or skipped" if rows else "**no**: none was run"
    return [what, *_where(reports["tests"]), said]


def ledger(folder: Path) -> str:
    """Return the page for the results in `folder`."""
    reports = read_reports(folder)
    heads = ["kernel", "GPU", "torch, CUDA", "commit", "correct", "compute-sanitizer", "speed", "share of the floor"]
    lines = [_HEAD, *_table(heads, (_kernel_row(kernel, reports) for kernel in KERNELS))]
    lines += ["", "And what the kernels are used by:", ""]
    rows = [_network_row(name, what, reports) for name, what in _NETWORKS.items()]
    lines += _table(["what", "GPU", "torch, CUDA", "commit", "correct"], [*rows, _tests_row(reports)])
    speed = reports.get("speed", {})
    if speed.get("headlines"):
        lines += ["", f"Speeds on one {speed['machine']['gpu']}, one run, medians:", ""]
        heads = ["case", "best of ours", "ms", "best baseline", "ms", "speed-up", "share of the floor"]
        lines += _table(heads, map(_headline, speed["headlines"]))
    if reports:
        lines += ["", "`make gpu`, seconds by step:", ""]
        times = ([step, str(report.get("seconds", "")), _verdict(report)] for step, report in reports.items())
        lines += _table(["step", "seconds", "result"], times)
    return "\n".join(lines) + "\n" + _FOOT


def _headline(line: Report) -> list[str]:
    share = f"{line['share_of_floor']:.0%}" if "share_of_floor" in line else ""
    ours, theirs = (f"{1e3 * line[key]:.3f}" for key in ("ours_s", "best_baseline_s"))
    return [line["case"], line["ours"], ours, line["best_baseline"], theirs, f"{line['speedup']:.2f}", share]


def _verdict(report: Report) -> str:
    if report["ok"] is None:
        return "**stopped before its end**"
    failed = [part["name"] for part in report["parts"] if not part["ok"]]
    reason = report.get("reason") or ", ".join(failed)
    return "passed" if report["ok"] else f"**failed**: {reason}"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "gpu-verified.md")
    options = parser.parse_args()
    options.out.write_text(ledger(options.results), encoding="utf-8")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
