"""Headlines from the benchmarks: in each case our best against the best baseline of the same run, and the floor."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read_benchmarks(path: Path) -> list[Row]:
    """Return name, seconds (median, quartiles), rounds and further figures of pytest-benchmark's JSON."""
    rows = []
    for entry in json.loads(path.read_text(encoding="utf-8"))["benchmarks"]:
        stats = entry["stats"]
        rows.append(
            {
                "name": entry["fullname"],
                "median_s": stats["median"],
                "q1_s": stats["q1"],
                "q3_s": stats["q3"],
                "rounds": stats["rounds"],
                **entry["extra_info"],
            }
        )
    return rows


def headlines(rows: list[Row]) -> list[Row]:
    """Return for each case that both sides took part in: the best of each, their ratio, and the share of the floor.

    `speedup` is the best baseline's median over ours; `speedups` holds that ratio for every baseline.
    """
    cases: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if "case" in row:
            cases[f"{row['case']} on {row['device']}"].append(row)
    result = []
    for case, contenders in cases.items():
        ours = [row for row in contenders if not row["baseline"]]
        baselines = [row for row in contenders if row["baseline"]]
        if not ours or not baselines:
            continue
        best, rival = (min(side, key=lambda row: row["median_s"]) for side in (ours, baselines))
        line = {
            "case": case,
            "ours": best["contender"],
            "ours_s": best["median_s"],
            "best_baseline": rival["contender"],
            "best_baseline_s": rival["median_s"],
            "speedup": rival["median_s"] / best["median_s"],
            "speedups": {row["contender"]: row["median_s"] / best["median_s"] for row in baselines},
        }
        for key in ("floor_s", "share_of_floor", "images/s at the median"):
            if key in best:
                line[key] = best[key]
        result.append(line)
    return result


def as_text(lines: list[Row]) -> str:
    """Return the headlines as a table for a terminal."""
    text = []
    for line in lines:
        share = f", {line['share_of_floor']:.0%} of the floor" if "share_of_floor" in line else ""
        text.append(
            f"{line['case']}: {1e3 * line['ours_s']:.3f} ms ({line['ours']}), {line['speedup']:.2f} x the best "
            f"baseline, {1e3 * line['best_baseline_s']:.3f} ms ({line['best_baseline']}){share}"
        )
    return "\n".join(text)
