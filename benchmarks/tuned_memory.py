"""Memory along one run in which many small photos are tuned: `deltafast project --likeness tuned`, in this process.

    python -m benchmarks.tuned_memory --photos 1000 --work FOLDER

A small StyleGAN2 and a small encoder with random weights, made-up pictures of 64 pixels, two steps of refinement each,
without the landmarks' and the identity's networks. Writes the resident memory at every twentieth of the run, and by how
much the mean of its last quarter lies above that of its second.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.baselines.random_weights import random_stylegan2
from deltafast.evaluation.machine import describe_run
from deltafast.files import write_json, write_png
from deltafast.generators.base import Generator
from deltafast.memory import keep_freed_memory
from deltafast.projection import ProjectionSettings, RefineConfig, project_images
from deltafast.projection import images as projecting
from deltafast.projection.encoder import Encoder, EncoderConfig
from deltafast.projection.sampling import slot_groups

SIZE = 64  # pixels
STEPS = 2
SAMPLES = 20


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--work", type=Path, required=True, help="a new folder for pictures and results")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "tuned_memory.json")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    generator = random_stylegan2(SIZE, 512).requires_grad_(False)
    random = np.random.default_rng(0)
    for k in range(options.photos):
        small = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        write_png(options.work / "photos" / f"{k:04d}.png", np.kron(small, np.ones((8, 8, 1), np.uint8)))
    settings = ProjectionSettings(RefineConfig(steps=STEPS, landmark_weight=0.0, identity_weight=0.0))
    held: list[float] = []
    project_photo = projecting.project_photo

    def weighed(*given: Any, **named: Any) -> list[Path]:
        made = project_photo(*given, **named)
        held.append(resident())
        return made

    projecting.project_photo = weighed  # type: ignore[assignment]
    begun, cpu = time.monotonic(), time.process_time()
    result = project_images(
        generator,
        options.work / "photos",
        options.work / "out",
        settings,
        align=False,
        encoder=small_encoder(generator),
        tuned=True,
    )
    if result.failures or len(held) != options.photos:
        raise SystemExit(f"{len(result.failures)} failures, {len(held)} of {options.photos} photos tuned")
    quarter = len(held) // 4
    second, last = (float(np.mean(held[k * quarter : (k + 1) * quarter])) for k in (1, 3))
    figures = {
        "photos": options.photos,
        "steps": STEPS,
        "generator": f"StyleGAN2, {SIZE}², random weights",
        "mib": [round(held[min(len(held) - 1, len(held) * k // SAMPLES)], 1) for k in range(SAMPLES + 1)],
        "mib_second_quarter": round(second, 1),
        "mib_last_quarter": round(last, 1),
        "growth_mib_per_100_photos": round((last - second) / (2 * quarter) * 100, 3),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "seconds": round(time.monotonic() - begun, 1),
    }
    print(figures)
    write_json(options.out, {"run": describe_run(), **figures})
    return 0


def resident() -> float:
    """Return this process's resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def small_encoder(generator: Generator) -> Encoder:
    """Return an encoder with random weights for a small generator."""
    torch.manual_seed(0)
    config = EncoderConfig(SIZE, generator.num_ws, generator.w_dim, slot_groups(generator.num_ws), 16)
    encoder = Encoder(config, generator.w_space, generator.name).eval().requires_grad_(False)
    encoder.w_avg.copy_(generator.w_avg)
    return encoder


if __name__ == "__main__":
    raise SystemExit(main())
