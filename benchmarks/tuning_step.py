"""What the gradient of a generator's weights costs beside that of its latents, one image on the CPU.

    python -m benchmarks.tuning_step [--subject mobilestylegan-1024] [--rounds 7] [--out FILE]

A tuning step is the image and the gradients of the latents and of every weight of the synthesis, biases and noise
strengths among them; a latent step the image and the gradient of the latents alone. The two and the image by itself
take turns. Writes medians and quartiles in seconds, the ratio of the two steps, and the run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.clock import in_turns, median_and_quartiles
from benchmarks.contenders import load_subject
from deltafast.evaluation.machine import describe_run
from deltafast.files import write_json
from deltafast.generators.base import Generator
from deltafast.memory import keep_freed_memory

_WARM_UP = 1
SUBJECTS = ("mobilestylegan-1024", "stylegan2-e-256")


def steps(generator: Generator, ws: Tensor) -> dict[str, Callable[[], object]]:
    """Return what is timed, by name, for latents `[1, num_ws, w_dim]`."""
    tuned = list(generator.synthesis.parameters())

    def image() -> object:
        with torch.no_grad():
            return generator.synthesis(ws)

    def gradients(of_weights: bool) -> tuple[Tensor, ...]:
        for weight in tuned:
            weight.requires_grad_(of_weights)
        latents = ws.clone().requires_grad_(True)
        wanted = [latents, *(tuned if of_weights else ())]
        loss = generator.synthesis(latents).square().mean()
        return torch.autograd.grad(loss, wanted)

    return {"image": image, "latent step": lambda: gradients(False), "tuning step": lambda: gradients(True)}


def measure(generator: Generator, rounds: int) -> dict[str, Any]:
    """Return medians and quartiles of each of `steps`, and how many latent steps a tuning step takes."""
    z = torch.randn(1, generator.z_dim, generator=torch.Generator().manual_seed(1000))
    with torch.no_grad():
        ws = generator.mapping(z, truncation_psi=0.7)  # [1, num_ws, w_dim]
    calls = steps(generator, ws)
    seconds = in_turns(calls, rounds, _WARM_UP)
    result: dict[str, Any] = {name: median_and_quartiles(taken) for name, taken in seconds.items()}
    result["weights"] = sum(weight.numel() for weight in generator.synthesis.parameters())
    result["latent steps in a tuning step"] = result["tuning step"]["median_s"] / result["latent step"]["median_s"]
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the JSON; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", action="append", help=f"{', '.join(SUBJECTS)} unless given, or stylegan2-f-1024")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rehearse", action="store_true", help="small generators of the same architectures")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/tuning_step.json"))
    options = parser.parse_args(arguments)
    keep_freed_memory()
    results = {}
    for name in options.subject or SUBJECTS:
        generator = load_subject(name, torch.device("cpu"), tiny=options.rehearse)
        results[name] = measure(generator, options.rounds)
        image, latent, tuning = (results[name][what]["median_s"] for what in ("image", "latent step", "tuning step"))
        print(f"{name}: image {image:.3f} s, latent step {latent:.3f} s, tuning step {tuning:.3f} s, ", end="")
        print(f"{results[name]['latent steps in a tuning step']:.2f} latent steps")
    write_json(options.out, {"run": describe_run(), "rounds": options.rounds, "results": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
