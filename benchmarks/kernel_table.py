"""The per-kernel table: what each operation of a call took, beside the floor for its bytes and arithmetic.

The call runs under torch's profiler with every operation marked; a kernel belongs to the operation during which it was
launched. On a CPU, which launches nothing, an operation's time is that of its mark.
"""

from __future__ import annotations

import gzip
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.ceilings import Ceilings
from benchmarks.operations import RANGE, Operation, OperationRecorder

_ON_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}
_LAUNCHES = {"cuda_runtime", "cuda_driver"}
_WARM_UP = 3


@dataclass
class Measured:
    """An operation's time in each pass, in seconds, and the kernels that made it up."""

    seconds: list[float] = field(default_factory=list)
    kernels: set[str] = field(default_factory=set)


def profile_call(call: Callable[[], object], device: torch.device, trace: Path, passes: int) -> list[Operation]:
    """Run `call()` `passes` times under the profiler, write the Chrome trace, and return the operations of one pass.

    `trace` must end in .json.gz. Raises `RuntimeError` where the passes differ in their operations.
    """
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    recorded: list[list[Operation]] = []
    with torch.inference_mode(False), torch.no_grad():  # else conv2d stays unresolved
        for _ in range(_WARM_UP):
            call()
        _wait(device)
        with profile(activities=activities) as profiler:
            for _ in range(passes):
                with OperationRecorder() as recorder:
                    call()
                recorded.append(recorder.operations)
            _wait(device)
    profiler.export_chrome_trace(str(trace))
    if any(operations != recorded[0] for operations in recorded):
        raise RuntimeError("the profiled call does not do the same operations every time")
    return recorded[0]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def read_trace(trace: Path) -> dict[int, Measured]:
    """Return, by the operation's number, its times and kernels from a Chrome trace with marked operations."""
    with gzip.open(trace, "rt", encoding="utf-8") as file:
        events: list[dict[str, Any]] = [event for event in json.load(file)["traceEvents"] if event.get("ph") == "X"]
    marks = [e for e in events if e.get("cat") == "user_annotation" and e["name"].startswith(RANGE)]
    marks.sort(key=lambda event: event["ts"])
    starts = [event["ts"] for event in marks]
    launches = {e["args"]["correlation"]: e["ts"] for e in events if e.get("cat") in _LAUNCHES and "args" in e}
    on_device: dict[int, float] = defaultdict(float)  # place in `marks` -> microseconds
    kernels: dict[int, set[str]] = defaultdict(set)
    for event in events:
        if event.get("cat") not in _ON_DEVICE:
            continue
        launched = launches.get(event["args"].get("correlation"))
        place = -1 if launched is None else bisect_right(starts, launched) - 1
        if place >= 0 and launched <= marks[place]["ts"] + marks[place]["dur"]:
            on_device[place] += event["dur"]
            kernels[place].add(event["name"])
    result: dict[int, Measured] = defaultdict(Measured)
    for place, mark in enumerate(marks):
        number = int(mark["name"].removeprefix(RANGE))
        microseconds = on_device.get(place, 0.0) if on_device else mark["dur"]
        result[number].seconds.append(microseconds / 1e6)
        result[number].kernels |= kernels[place]
    return dict(result)


def kernel_table(operations: list[Operation], measured: dict[int, Measured], ceilings: Ceilings) -> dict[str, Any]:
    """Return rows (slowest first; equal calls in one row) and sums, as plain values for JSON.

    A row: name, shapes, calls, kernels, seconds, GB/s, TFLOP/s, floor_s, share_of_floor (floor over time) and
    share_of_time. Seconds, bytes and operations are sums over the calls, each call's time the median of all passes.
    """
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, operation in enumerate(operations):
        if number in measured:
            groups[operation.name, operation.shapes].append(number)
    rows: list[dict[str, Any]] = []
    for (name, shapes), numbers in groups.items():
        seconds = sum(median(measured[number].seconds) for number in numbers)
        if not seconds:
            continue
        moved = sum(operations[number].bytes for number in numbers)
        arithmetic = sum(operations[number].operations for number in numbers)
        floor = sum(ceilings.floor(operations[number].operations, operations[number].bytes) for number in numbers)
        rows.append(
            {
                "operation": name,
                "shapes": shapes,
                "calls": len(numbers),
                "kernels": sorted(set().union(*(measured[number].kernels for number in numbers))),
                "seconds": seconds,
                "GB/s": moved / seconds / 1e9,
                "TFLOP/s": arithmetic / seconds / 1e12,
                "floor_s": floor,
                "share_of_floor": floor / seconds,
            }
        )
    rows.sort(key=lambda row: -row["seconds"])
    total = sum(row["seconds"] for row in rows)
    for row in rows:
        row["share_of_time"] = row["seconds"] / total
    return {"rows": rows, "seconds": total, "floor_s": sum(row["floor_s"] for row in rows)}
