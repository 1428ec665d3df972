"""Is this checkout slower than another one? Both on the same CPU, in turn, call by call.

    python -m benchmarks.beside_commit OTHER [--rounds 9]

OTHER is a checkout of another commit with its extension built. Each of the two runs in a process of its own, which
waits while the other one works; `results/beside_commit.json` gets the medians, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
CASES = ("stylegan2-e-256, one image", "stylegan2-e-256, batch 8", "mobilestylegan, one image", "its latent gradient")


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "beside_commit.json")
    options = parser.parse_args(arguments)
    from deltafast.evaluation.machine import describe_run
    from deltafast.files import write_json

    folders = {"this": ROOT, "other": options.other.absolute()}
    workers = {name: _Worker(folder) for name, folder in folders.items()}
    rows: dict[str, Any] = {}
    for case in CASES:
        for worker in workers.values():
            worker.seconds(case)  # to warm up
        seconds: dict[str, list[float]] = {name: [] for name in workers}
        for turn in range(options.rounds):
            for name in sorted(workers, reverse=bool(turn % 2)):
                seconds[name].append(workers[name].seconds(case))
        ratios = [this / other for this, other in zip(seconds["this"], seconds["other"], strict=True)]
        rows[case] = {
            "median_s": {name: round(statistics.median(times), 5) for name, times in seconds.items()},
            "this_over_other": round(statistics.median(ratios), 4),
            "least_and_most": [round(min(ratios), 4), round(max(ratios), 4)],
        }
        print(f"{case:<28} {rows[case]['this_over_other']:.3f} {rows[case]['least_and_most']}", flush=True)
    for worker in workers.values():
        worker.end()
    other = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=folders["other"], text=True).strip()
    run = describe_run()
    run["command"] = run["command"].replace(str(options.other), "OTHER")  # a path says nothing, the commit does
    write_json(options.out, {"run": run, "other": other, "rounds": options.rounds, "cases": rows})
    return 0


class _Worker:
    """A process in a checkout that times a case whenever it is told to."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        command = [sys.executable, str(Path(__file__).resolve()), "--serve"]
        self._process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self, case: str) -> float:
        """Return how long one call took."""
        to, back = self._streams()
        to.write(case + "\n")
        to.flush()
        line = back.readline()
        if not line:
            raise RuntimeError(f"the other process ended at {case}")
        return float(json.loads(line))

    def end(self) -> None:
        """Let it end."""
        self._streams()[0].close()
        self._process.wait()

    def _streams(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout


def serve() -> None:
    """Time the cases that are named on stdin, one line each; answers are seconds as JSON."""
    import torch

    import deltafast
    from benchmarks.baselines.random_weights import CONFIG_E, random_stylegan2
    from deltafast.memory import keep_freed_memory

    keep_freed_memory()
    random = torch.Generator().manual_seed(0)
    stylegan2 = random_stylegan2(256, CONFIG_E)
    mobile = deltafast.load_generator("mobilestylegan-ffhq")

    def codes(generator: Any, count: int) -> torch.Tensor:
        return generator.mapping(torch.randn(count, generator.z_dim, generator=random)).detach()

    one, eight, face = codes(stylegan2, 1), codes(stylegan2, 8), codes(mobile, 1)

    def gradient() -> None:
        ws = face.clone().requires_grad_()
        torch.autograd.grad(mobile.synthesis(ws).square().mean(), ws)

    def plain(generator: Any, ws: torch.Tensor) -> None:
        with torch.inference_mode():
            generator.synthesis(ws)

    calls = dict(
        zip(
            CASES,
            (
                lambda: plain(stylegan2, one),
                lambda: plain(stylegan2, eight),
                lambda: plain(mobile, face),
                gradient,
            ),
            strict=True,
        )
    )
    for line in sys.stdin:
        call = calls[line.strip()]
        began = time.perf_counter()
        call()
        print(json.dumps(time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    if "--serve" in sys.argv:
        serve()
    else:
        raise SystemExit(main())
