"""What the kernels are used by, once on this device: syntheses against golden images, trainings against a CPU's.

    python -m benchmarks.gpu_networks golden|graph|compiled|training|precise --data FOLDER [--device cuda]

A row for each comparison, with error, allowed and, where it failed, how many times the allowed error was made: a near
miss is a question of the tolerance, a far one is wrong. On a CPU (the rehearsal) networks are tiny and graphs are plain
calls.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.baselines import random_weights
from benchmarks.contenders import torch_itself
from benchmarks.evidence import LOST_DEVICE, Evidence
from benchmarks.gpu_data import golden_names, read_golden
from benchmarks.precision import float32_is_exact
from deltafast.delta import DeltaConfig, PreciseConfig
from deltafast.delta.training_step import TrainingStep
from deltafast.generators.base import Generator
from deltafast.generators.compiled import CapturedSynthesis
from deltafast.ops import DeltaSizes, weight_count
from deltafast.ops.tolerance import FLOOR, max_error

_MULTIPLE = 2.0  # of torch's own error in the same precision, for images; see tests/generators/test_on_cuda.py
_GRADIENT_MULTIPLE = 3.0
_NEAR = 4.0  # times the allowed error: up to there it may be the tolerance that is wrong
_DTYPES = {"cuda": (torch.float32, torch.float16, torch.bfloat16), "cpu": (torch.float32,)}


class Checks:
    """Compares, and leaves a row for each comparison."""

    def __init__(self, evidence: Evidence, device: torch.device, data: Path) -> None:
        self.evidence = evidence
        self.device = device
        self.data = data
        self.rehearse = device.type == "cpu"

    def compare(self, name: str, result: Tensor, exact: Tensor, plain: Tensor | None, multiple: float) -> None:
        """Hold `result` to a multiple of the error that `plain`, torch itself, makes, or to the floor."""
        own = 0.0 if plain is None else max_error(plain, exact)
        allowed = max(multiple * own, FLOOR * float(exact.abs().max()))
        self.hold(name, max_error(result, exact), allowed)

    def hold(self, name: str, error: float, allowed: float) -> None:
        """Leave a row for an error and what it may be."""
        row: dict[str, Any] = {"name": name, "error": error, "allowed": allowed, "ok": error <= allowed}
        if not row["ok"]:
            times = error / allowed if allowed else float("inf")
            row["times_allowed"] = times
            row["reason"] = "a near miss: is the tolerance right?" if times <= _NEAR else "wrong"
        self.evidence.add(**row)
        print(f"{name}: error {error:.3g}, allowed {allowed:.3g}, {row.get('reason', 'ok')}", flush=True)


def _networks(checks: Checks) -> Iterator[tuple[str, Generator, Tensor, Callable[[Tensor], Tensor], Tensor]]:
    """Yield name, fp32 generator, latents, what of an image is compared, and its golden values, all on the device."""
    if checks.rehearse:
        for name, generator in (
            ("stylegan2", random_weights.random_stylegan2(16, 128)),
            ("mobilestylegan", random_weights.random_mobilestylegan(32, 16)),
        ):
            ws = torch.randn(2, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                golden = copy.deepcopy(generator).double().synthesis(ws.double())
            yield name, generator.requires_grad_(False), ws, lambda image: image, golden
        return
    names = golden_names(checks.data)
    if not names:
        checks.evidence.add(name="golden images", ok=False, reason=f"none in {checks.data}: run `make gpu-data`")
    for name in names:
        generator, golden = read_golden(checks.data, name)
        generator = generator.to(checks.device).requires_grad_(False)
        ws = golden["ws"].to(checks.device)
        if "image" in golden:
            yield name, generator, ws, lambda image: image, golden["image"].to(checks.device)
        else:
            yield (
                f"{name}, means of 4 x 4",
                generator,
                ws,
                lambda image: F.avg_pool2d(image, 4),
                golden["area"].to(checks.device),
            )


def golden(checks: Checks) -> None:
    """The eager synthesis in every precision, without gradients and with."""
    for name, generator, ws, part, exact in _networks(checks):
        for dtype in _DTYPES[checks.device.type]:
            plain = torch_itself(generator, dtype)
            ours = copy.deepcopy(generator).to(dtype)
            label = f"{name}, {str(dtype).removeprefix('torch.')}"
            with torch.no_grad():
                own = part(plain(ws))
                checks.compare(f"{label}, no gradient wanted", part(ours.synthesis(ws)), exact, own, _MULTIPLE)
            leaf = ws[:1].clone().requires_grad_()
            image = part(ours.synthesis(leaf))
            checks.compare(f"{label}, gradient wanted", image, exact[:1], own[:1], _MULTIPLE)
            (gradient,) = torch.autograd.grad(image.square().mean(), leaf)
            finite = bool(gradient.isfinite().all()) and float(gradient.abs().max()) > 0
            checks.hold(f"{label}, gradient is finite and not 0", 0.0 if finite else 1.0, 0.5)


def graph(checks: Checks) -> None:
    """The synthesis as a CUDA graph: full and smaller batches, replayed, after weights were changed."""
    capture = (lambda run, device: run) if checks.rehearse else None
    for name, generator, ws, part, exact in _networks(checks):
        for dtype in _DTYPES[checks.device.type]:
            ours = copy.deepcopy(generator).to(dtype)
            run = CapturedSynthesis(ours.synthesis, 3, capture)
            with torch.no_grad():
                own = part(torch_itself(generator, dtype)(ws))
            label = f"{name}, {str(dtype).removeprefix('torch.')}"
            for place, count in enumerate((len(ws), 1, len(ws))):
                images = part(run(ws[:count]))
                checks.compare(f"{label}, replay {place}", images, exact[:count], own[:count], _MULTIPLE)
            with torch.no_grad():
                max(ours.synthesis.parameters(), key=torch.Tensor.numel).mul_(-1.5)
                again, eager = part(run(ws)), part(ours.synthesis(ws))
            spread = max_error(own, exact) + FLOOR * float(eager.abs().max())
            checks.hold(f"{label}, after a weight was changed", max_error(again, eager), _MULTIPLE * spread)
            noise = [run(ws[:1], "random") for _ in range(2)]
            checks.hold(f"{label}, random noise is fresh", float(torch.equal(*noise)), 0.5)


def compiled(checks: Checks) -> None:
    """The synthesis under torch.compile, with its gradient, against the eager one."""
    for name, generator, ws, _, _ in _networks(checks):
        if "mobile" in name and not checks.rehearse:
            continue  # compiling 1024 x 1024 takes minutes; the speeds do it
        # the rehearsal traces, and leaves the C++ compiler alone
        fast = torch.compile(generator.synthesis, backend="aot_eager") if checks.rehearse else generator.compiled()
        results = []
        for synthesis in (generator.synthesis, fast):
            leaf = ws.clone().requires_grad_()
            images = synthesis(leaf)
            results.append([images.detach(), *torch.autograd.grad(images.square().mean(), leaf)])
        double = copy.deepcopy(generator).cpu().double()
        leaf = ws.cpu().double().requires_grad_()
        images = double.synthesis(leaf)
        exact = [images.detach(), *torch.autograd.grad(images.square().mean(), leaf)]
        for what, eager, ours, truth in zip(("image", "gradient"), *results, exact, strict=True):
            multiple = _MULTIPLE if what == "image" else _GRADIENT_MULTIPLE
            checks.compare(f"{name}, torch.compile, {what}", ours.cpu(), truth, eager.cpu(), multiple)
        if checks.rehearse:
            return


def training(checks: Checks) -> None:
    """Steps of E and D one by one and (on CUDA) as a replayed graph, against a CPU's."""
    sizes = DeltaSizes(slots=6, w_dim=512, width=32, layers=1, dim=16)
    steps = 5 if checks.rehearse else 40
    config = DeltaConfig(width=sizes.width, layers=sizes.layers, dim=sizes.dim, steps=steps, pairs=10, seed=9)
    random = torch.Generator().manual_seed(4)
    weights = 0.05 * torch.randn(weight_count(sizes), generator=random)
    x = torch.randn(sizes.slots, 6, 4, sizes.w_dim, generator=random)

    def begin(device: torch.device | str) -> TrainingStep:
        return TrainingStep(weights.to(device), x.to(device), config)

    replayed, one_by_one, on_cpu = begin(checks.device), begin(checks.device), begin("cpu")
    for _ in range(steps):
        replayed.advance()
        one_by_one._make()
        on_cpu.advance()
    same = torch.equal(replayed.losses, one_by_one.losses) and torch.equal(replayed.weights, one_by_one.weights)
    checks.hold("training: a replayed graph makes the bits of single steps", float(not same), 0.5)
    fresh = len(replayed.losses.unique()) == steps
    checks.hold("training: every replay has its own pairs and noise", float(not fresh), 0.5)
    off = float(((replayed.losses.cpu() - on_cpu.losses) / on_cpu.losses).abs().max())
    checks.hold("training: losses as on a CPU, relative", off, 1e-3)


def precise(checks: Checks) -> None:
    """Three steps of loss="precise" from one state, on the device and on a CPU."""
    from deltafast.delta import train_editor
    from deltafast.sequence_latents import GeneratorId, SequenceLatents

    generator = random_weights.random_stylegan2(32 if checks.rehearse else 64, 256)
    generator = generator.requires_grad_(False)
    random = torch.Generator().manual_seed(11)
    identities, amounts = 4, [-30.0, -15.0, 0.0, 15.0, 30.0]
    start = torch.randn(identities, 1, generator.num_ws, generator.w_dim, generator=random)  # [K, 1, num_ws, w_dim]
    way = torch.randn(1, generator.num_ws, generator.w_dim, generator=random)
    turned = start + torch.tensor(amounts)[:, None, None] / 30 * way  # [K, n, num_ws, w_dim]
    names = [f"identity-{k}" for k in range(identities)]
    latents = {("yaw", name): turned[k].contiguous() for k, name in enumerate(names)}
    sequences = SequenceLatents({"yaw": amounts}, names, latents, GeneratorId.of(generator), source="a" * 64)
    settings = PreciseConfig(steps=3, edits=2, faces=3, lr=1e-3)
    config = DeltaConfig(steps=5, pairs=2, loss="precise", precise=settings, width=8, dim=4)
    plain = train_editor(sequences, "yaw", replace(config, loss="paper", precise=None), device="cpu")
    editors = [
        train_editor(sequences, "yaw", config, device=device, generator=copy.deepcopy(generator).to(device))
        for device in ("cpu", checks.device)
    ]
    ws = start[:, 0]
    changes = [editor.edit(ws, 1.0) - ws for editor in (plain, *editors)]
    size = float(changes[1].norm())
    trained, off = (float((changes[2] - other).norm()) / size for other in changes[:2])
    checks.hold("precise: edits as trained on a CPU, relative", off, 0.02)
    checks.hold("precise: the second stage changed the edits", float(not trained > 1e-6), 0.5)


CHECKS: dict[str, Callable[[Checks], None]] = {
    "golden": golden,
    "graph": graph,
    "compiled": compiled,
    "training": training,
    "precise": precise,
}


def main() -> None:
    """Run one of the checks; exit code 1 where a comparison fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("--data", type=Path, default=Path(".gpu-data"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--evidence", type=Path, help="file for a JSON row of every comparison")
    options = parser.parse_args()
    float32_is_exact()
    evidence = Evidence(options.evidence)
    if evidence.seen(options.check):
        sys.exit(1)  # it crashed before: there is no second half to go on with
    evidence.begin(options.check)
    try:
        CHECKS[options.check](Checks(evidence, torch.device(options.device), options.data))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        evidence.add(name=options.check, ok=False, reason=str(error)[:1000])
        sys.exit(LOST_DEVICE if "CUDA error" in str(error) else 1)
    evidence.add(name=options.check, ok=True)
    sys.exit(0 if evidence.ok else 1)


if __name__ == "__main__":
    main()
