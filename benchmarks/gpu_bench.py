"""`make gpu-bench`: on a machine with a GPU, build, time everything with CUDA events, and profile one synthesis.

Leaves `gpu-bench.json`: the machine, every benchmark's median, and the kernels that a synthesis spends its time in.
Ends with 0 where all benchmarks agreed with their reference and were timed, 1 otherwise, 3 where there is no GPU.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from gpu_machine import ROOT, Steps, arguments, build, finish, require_gpu


def read_benchmarks(path: Path) -> list[dict[str, Any]]:
    """Return name, seconds (median, quartiles), rounds and further figures of pytest-benchmark's JSON."""
    rows = []
    for entry in json.loads(path.read_text(encoding="utf-8"))["benchmarks"]:
        stats = entry["stats"]
        rows.append(
            {
                "name": entry["fullname"],
                "parameters": entry["params"],
                "median_s": stats["median"],
                "q1_s": stats["q1"],
                "q3_s": stats["q3"],
                "rounds": stats["rounds"],
                **entry["extra_info"],
            }
        )
    return rows


def profile(path: Path) -> None:
    """Profile ten syntheses of 16 faces in fp16 and write the kernels by their share of GPU time."""
    import torch
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    from deltafast.generators.load import load_generator

    generator = load_generator("mobilestylegan-ffhq", device="cuda", dtype=torch.float16)
    z = torch.randn(16, generator.z_dim, device="cuda")
    with torch.inference_mode():
        ws = generator.mapping(z, truncation_psi=0.7)  # [N, L, 512]
        for _ in range(5):
            generator.synthesis(ws)
        torch.cuda.synchronize()
        with record(activities=[ProfilerActivity.CUDA]) as recorded:
            for _ in range(10):
                generator.synthesis(ws)
            torch.cuda.synchronize()
    rows = sorted(recorded.key_averages(), key=lambda event: -event.self_device_time_total)
    total = sum(event.self_device_time_total for event in rows) or 1
    kernels = [
        {
            "kernel": event.key[:160],
            "calls": event.count,
            "microseconds": event.self_device_time_total,
            "share": event.self_device_time_total / total,
        }
        for event in rows[:25]
    ]
    path.write_text(json.dumps(kernels), encoding="utf-8")


def main() -> None:
    """Run all steps and write the report."""
    options = arguments(__doc__ or "")
    machine = require_gpu("gpu-bench", options.data)
    steps = Steps(options.minutes * 60, options.data)
    report: dict[str, Any] = {"machine": machine, "benchmarks": [], "profile": []}
    if build(steps, machine):
        with tempfile.TemporaryDirectory() as folder:
            timings, kernels = Path(folder) / "timings.json", Path(folder) / "kernels.json"
            pytest = [sys.executable, "-m", "pytest", "--benchmark", "-m", "gpu", f"--benchmark-json={timings}"]
            steps.run("benchmarks", pytest)
            if timings.exists() and timings.stat().st_size:
                report["benchmarks"] = read_benchmarks(timings)
            if not report["benchmarks"]:
                steps.fail("benchmarks", "nothing was timed")
            steps.run("profile", [sys.executable, ROOT / "benchmarks" / "gpu_bench.py", "--profile", kernels])
            if kernels.exists():
                report["profile"] = json.loads(kernels.read_text(encoding="utf-8"))
    finish("gpu-bench", steps, report, options.results)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--profile"]:  # a process of its own, so that a crash in it costs only its own figures
        profile(Path(sys.argv[2]))
    else:
        main()
