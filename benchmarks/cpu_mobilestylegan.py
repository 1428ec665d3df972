"""MobileStyleGAN-FFHQ at 1024 x 1024 on a CPU, forward and backward, beside OpenVINO, onnxruntime and torch.

    python -m benchmarks.cpu_mobilestylegan --out benchmarks/results/cpu_mobilestylegan.json

Every contender synthesises the same latent by the same weights, and its result is held against plain torch in float64
before it is timed. All take turns in one process, `--rounds` times; reported are medians of the clock's time and of
the processor time, the latter summed over threads. Freed memory is kept for all alike. What is not installed is said
and left out. Writes JSON; `benchmarks.cpu_picture` draws it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.baselines.mobilestylegan import PlainMobileStyleGAN
from benchmarks.ceilings import measure_ceilings
from benchmarks.cpu_contenders import Found, other_contenders, plain, torch_contenders
from deltafast.evaluation.machine import describe_run
from deltafast.files import write_json
from deltafast.generators.base import Generator
from deltafast.generators.load import load_generator
from deltafast.memory import keep_freed_memory

FORWARD = {"": 1e-4, ", bf16": 0.2}  # largest error, as a share of the largest value of the image
BACKWARD = 1e-3  # largest error, as a share of the largest value of the gradient
_PACKAGES = ("openvino", "onnxruntime", "onnx")


@dataclass
class Contender:
    """A name, what is timed, and the times of each round in seconds: by the clock and of the processor."""

    name: str
    prepare: Callable[[], Any]
    run: Callable[[Any], Any]
    error: float = 0.0
    clock: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def once(self) -> None:
        """Time one turn."""
        given = self.prepare()
        clock, processor = time.perf_counter(), time.process_time()
        self.run(given)
        self.clock.append(time.perf_counter() - clock)
        self.processor.append(time.process_time() - processor)

    def result(self) -> dict[str, Any]:
        """Return medians and quartiles as JSON values."""
        q1, median, q3 = statistics.quantiles(self.clock, n=4, method="inclusive")
        return {
            "contender": self.name,
            "median_s": median,
            "q1_s": q1,
            "q3_s": q3,
            "processor_s": statistics.median(self.processor),
            "relative_error": self.error,
        }


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu_mobilestylegan.json"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out: it takes minutes")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    generator = load_generator("mobilestylegan-ffhq")
    with tempfile.TemporaryDirectory() as folder:
        contenders = torch_contenders(generator, compiled=not options.no_compile)
        others = other_contenders(generator, options.threads, Path(folder))
        result = compare(generator, contenders, others, options.threads, options.rounds)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, result)
    print(as_text(result))
    return 0


def compare(
    generator: Generator,
    differentiable: dict[str, Callable[[Tensor], Tensor]],
    others: Iterable[Found],
    threads: int,
    rounds: int,
) -> dict[str, Any]:
    """Check every contender, time them in turns, and return the result as JSON values."""
    z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(1000))
    w = generator.mapping(z, truncation_psi=0.7)[:, 0]  # [1, w_dim]
    ws = w.unsqueeze(1).repeat(1, generator.num_ws, 1)  # [1, L, w_dim]
    exact = PlainMobileStyleGAN(generator, channels_last=True, dtype=torch.float64)
    exact_ws = ws.double().requires_grad_()
    exact_image = exact.double()(exact_ws)
    (exact_gradient,) = torch.autograd.grad(exact_image.square().mean(), exact_ws)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        plain(generator, channels_last=True)(ws)
    skipped: dict[str, str] = {}
    forward: list[Contender] = []
    backward: list[Contender] = []
    for name, synthesis in differentiable.items():
        try:
            forward.append(_checked_forward(name, synthesis, ws, exact_image.detach()))
            backward.append(_checked_backward(name, synthesis, ws, exact_gradient))
        except (ImportError, RuntimeError) as error:  # torch.compile without a compiler
            skipped[name] = str(error).strip().splitlines()[0]
    for name, found in others:
        if isinstance(found, str):
            skipped[name] = found
        else:
            forward.append(_checked_forward(name, found, w, exact_image.detach()))
    for contender in [*forward, *backward]:  # a warm-up, the second call after the check's
        contender.run(contender.prepare())
    rates = []
    for _ in range(rounds):
        rates.append(measure_ceilings(torch.device("cpu"), torch.float32).operations_per_second)
        for contender in [*forward, *backward]:
            contender.once()
    rate = statistics.median(rates)
    operations = float(counter.get_total_flops())
    return {
        "run": {**describe_run(), "packages": {name: _version(name) for name in _PACKAGES}},
        "generator": generator.name,
        "resolution": generator.img_resolution,
        "threads": threads,
        "rounds": rounds,
        "operations": operations,
        "sgemm_operations_per_s": rate,
        "floor_s": operations / rate,
        "forward": sorted((c.result() for c in forward), key=lambda row: row["median_s"]),
        "backward": sorted((c.result() for c in backward), key=lambda row: row["median_s"]),
        "skipped": skipped,
    }


def _checked_forward(name: str, synthesis: Callable[[Tensor], Tensor], given: Tensor, exact: Tensor) -> Contender:
    def run(_: Any) -> Tensor:
        with torch.inference_mode():
            return synthesis(given)

    error = _relative_error(run(None), exact)
    allowed = next(limit for suffix, limit in reversed(FORWARD.items()) if name.endswith(suffix))
    if error > allowed:
        raise SystemExit(f"{name}: its image errs by {error:.1e} of the largest value, allowed are {allowed:.0e}")
    return Contender(name, lambda: None, run, error)


def _checked_backward(name: str, synthesis: Callable[[Tensor], Tensor], ws: Tensor, exact: Tensor) -> Contender:
    leaf = ws.clone().requires_grad_()

    def prepare() -> Tensor:
        return synthesis(leaf).square().mean()

    def run(loss: Tensor) -> Tensor:
        return torch.autograd.grad(loss, leaf)[0]

    error = _relative_error(run(prepare()), exact)
    if error > BACKWARD:
        raise SystemExit(f"{name}: its gradient errs by {error:.1e} of the largest value, allowed are {BACKWARD:.0e}")
    return Contender(name, prepare, run, error)


def _relative_error(result: Tensor, exact: Tensor) -> float:
    return ((result.double() - exact).abs().max() / exact.abs().max()).item()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def as_text(result: dict[str, Any]) -> str:
    """Return the result as lines to read."""
    lines = [
        f"{result['generator']}, {result['resolution']} x {result['resolution']}, batch 1, fp32, "
        f"{result['threads']} threads, medians of {result['rounds']}",
        f"floor {1e3 * result['floor_s']:.0f} ms: {result['operations'] / 1e9:.1f} GFLOP at "
        f"{result['sgemm_operations_per_s'] / 1e9:.0f} GFLOP/s of sgemm",
    ]
    for direction in ("forward", "backward"):
        own = next(row["median_s"] for row in result[direction] if row["contender"] == "deltafast")
        lines.append(direction)
        for row in result[direction]:
            times = f"{1e3 * row['median_s']:8.1f} ms, processor {1e3 * row['processor_s']:8.1f} ms"
            lines.append(f"  {row['contender']:34} {times}, {row['median_s'] / own:5.2f} x deltafast's")
    lines += [f"left out: {name}: {reason}" for name, reason in result["skipped"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
