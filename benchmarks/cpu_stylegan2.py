"""StyleGAN2's synthesis on a CPU, fp32: deltafast beside stylegan2-ada's forms, torch.compile and the library alone.

    python -m benchmarks.cpu_stylegan2 [--rounds 7] [--batches 1 8] [--size 256] [--no-compiled]

Every contender is first compared with deltafast's images; then all of them run in turn, in one process, round after
round, with the machine's matrix product in each round. Writes the medians to `results/cpu_stylegan2.json`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.baselines.random_weights import CONFIG_E, random_stylegan2
from benchmarks.baselines.stylegan2 import ConvolutionsAlone, compiled_baseline, plain_baselines
from deltafast.evaluation.machine import describe_run
from deltafast.files import write_json
from deltafast.generators.base import Generator
from deltafast.memory import keep_freed_memory
from deltafast.ops.tolerance import max_error

_OURS = "deltafast"
_COMPILED = "shared weights, NHWC, torch.compile(max-autotune)"
_ALONE = "the library's convolutions alone, NHWC"
_MATRIX = 2048  # rows and columns of the product that gives the machine's rate
_SHARE = 1e-5  # of the largest value: the largest difference between two contenders' images


def main() -> None:
    """Parse the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="timings of each contender")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="batch sizes")
    parser.add_argument("--size", type=int, default=256, help="resolution of the images")
    parser.add_argument("--no-compiled", action="store_true", help="leave torch.compile out: it takes minutes to begin")
    results = Path(__file__).parent / "results" / "cpu_stylegan2.json"
    parser.add_argument("--results", type=Path, default=results, help="the JSON file to write")
    options = parser.parse_args()
    keep_freed_memory()
    generator = random_stylegan2(options.size, CONFIG_E)
    report: dict[str, Any] = {
        "run": describe_run(),
        "network": f"StyleGAN2 config E (channel_base {CONFIG_E}), {options.size} x {options.size}, fp32",
        "rounds": options.rounds,
        "batches": {},
    }
    with torch.inference_mode():
        for batch in options.batches:
            found = measure(generator, batch, options.rounds, compiled=not options.no_compiled)
            report["batches"][str(batch)] = found
            print_table(batch, found)
    write_json(options.results, report)


def measure(generator: Generator, batch: int, rounds: int, *, compiled: bool = True) -> dict[str, Any]:
    """Return the medians of all contenders at one batch size, in seconds, and how they compare."""
    ws = torch.randn(batch, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(batch))
    plain = plain_baselines(generator)
    contenders: dict[str, Callable[[Tensor], Tensor]] = {_OURS: generator.synthesis, **plain}
    if compiled:
        contenders[_COMPILED] = compiled_baseline(generator)
    errors = check(contenders, ws)
    alone = ConvolutionsAlone(generator, batch, channels_last=True)
    contenders[_ALONE] = lambda _: alone()
    alone()
    with FlopCounterMode(display=False) as counter:
        alone()
    seconds, product = _timed_in_turn(contenders, ws, rounds)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    rate = 2 * _MATRIX**3 / statistics.median(product)
    best = min(plain, key=medians.__getitem__)
    return {
        "seconds": {name: _spread(times) for name, times in seconds.items()},
        "largest_difference": errors,
        "convolutions_flop": counter.get_total_flops(),
        "sgemm_flop_per_second": rate,
        "floor_of_direct_convolutions_seconds": counter.get_total_flops() / rate,
        "best_plain_baseline": best,
        "faster_than_best_plain_baseline": medians[best] / medians[_OURS],
        "faster_than": {name: medians[name] / medians[_OURS] for name in medians if name != _OURS},
    }


def check(contenders: dict[str, Callable[[Tensor], Tensor]], ws: Tensor) -> dict[str, float]:
    """Return each contender's largest difference from deltafast's images, as a share of their largest value.

    Raises `SystemExit` where one is larger than rounding explains.
    """
    expected = contenders[_OURS](ws)  # [N, 3, H, W]
    largest = float(expected.abs().max())
    errors = {name: max_error(run(ws), expected) / largest for name, run in contenders.items()}
    for name, error in errors.items():
        if not error <= _SHARE:
            raise SystemExit(f"{name} makes other images: they differ by {error:.1e} of the largest value")
    return errors


def _timed_in_turn(
    contenders: dict[str, Callable[[Tensor], Tensor]], ws: Tensor, rounds: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Run all contenders once in each round; return the seconds of each, and those of the matrix product."""
    left, right = torch.randn(2, _MATRIX, _MATRIX).unbind()  # [M, M] each
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    product: list[float] = []
    for _ in range(rounds):
        begun = time.perf_counter()
        left @ right
        product.append(time.perf_counter() - begun)
        for name, run in contenders.items():
            begun = time.perf_counter()
            run(ws)
            seconds[name].append(time.perf_counter() - begun)
    return seconds, product


def _spread(times: list[float]) -> dict[str, float]:
    return {"median": statistics.median(times), "least": min(times), "most": max(times)}


def print_table(batch: int, found: dict[str, Any]) -> None:
    """Print one batch size's medians, fastest first."""
    rate = found["sgemm_flop_per_second"] / 1e9
    print(f"batch {batch}: {found['convolutions_flop'] / 1e9:.1f} GFLOP of convolutions; sgemm {rate:.0f} GFLOP/s")
    for name, times in sorted(found["seconds"].items(), key=lambda item: item[1]["median"]):
        ratio = found["faster_than"].get(name)
        shown = "" if ratio is None else f"  {ratio:.2f} x deltafast"
        print(f"  {times['median'] * 1e3:9.1f} ms  {name}{shown}")


if __name__ == "__main__":
    main()
