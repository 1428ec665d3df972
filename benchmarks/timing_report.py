"""What `pytest --benchmark` leaves: one table on the screen, the same as JSON, and a picture of it."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.headlines import headlines
from benchmarks.picture import draw_headlines

_TIMINGS = pytest.StashKey[list[dict[str, Any]]]()


def keep_timing(config: pytest.Config, row: dict[str, Any]) -> None:
    """Keep a timing for the table, and at once where `--evidence` is asked for."""
    config.stash.setdefault(_TIMINGS, []).append(row)
    evidence = config.pluginmanager.get_plugin("evidence-recorder")
    if evidence is not None:
        evidence.add_timing(row)


def machine() -> dict[str, Any]:
    """Return what timings depend on."""
    import deltafast

    return {
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "torch_threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "deltafast": deltafast.__version__,
    }


def write_report(config: pytest.Config) -> list[str]:
    """Write `benchmark.json` and `benchmark.png` into `--benchmark-report`; return the table's lines."""
    rows = config.stash.get(_TIMINGS, [])
    if not rows:
        return []
    folder: Path = config.option.benchmark_report
    folder.mkdir(parents=True, exist_ok=True)
    lines = headlines(rows)
    report = {"machine": machine(), "rehearsal": bool(config.option.rehearse), "headlines": lines, "timings": rows}
    (folder / "benchmark.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if lines:
        draw_headlines(lines, report["machine"], folder / "benchmark.png")
    return [*as_table(lines).splitlines(), f"all timings and the picture: {folder}/benchmark.json, benchmark.png"]


def as_table(lines: list[dict[str, Any]]) -> str:
    """Return the headlines as a table, a case a row."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="medians; speed-up over the best baseline of the same run", title_justify="left")
    for heading in ("case", "best of ours", "ms", "best baseline", "ms", "speed-up", "of the floor"):
        table.add_column(heading, justify="right" if heading in ("ms", "speed-up", "of the floor") else "left")
    for line in lines:
        share = f"{line['share_of_floor']:.0%}" if "share_of_floor" in line else ""
        times = [f"{1e3 * line[key]:.3f}" for key in ("ours_s", "best_baseline_s")]
        speedup = f"{line['speedup']:.2f} x"
        table.add_row(line["case"], line["ours"], times[0], line["best_baseline"], times[1], speedup, share)
    text = io.StringIO()
    Console(file=text, width=150).print(table)
    return text.getvalue()
