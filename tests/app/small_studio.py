"""A studio whose generator is tiny: random weights, two random editors, and photos projected by their mean colour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from small_editors import random_editor
from small_generators import stylegan2_tensors

from deltafast.app.studio import Studio
from deltafast.delta import Editor
from deltafast.generators.build import build_generator
from deltafast.projection.fit import FitReport

RANGE = {"by": [-20.0, 30.0], "alpha": [-1.0, 1.0], "unit": "degree", "faces": 1}


class MeanProjector:
    """Projects a photo onto the latent that is its mean everywhere; refinement is not its subject."""

    def __init__(self, generator: Any) -> None:
        self.generator = generator

    def target(self, image: torch.Tensor) -> torch.Tensor:
        """The image `[3, S, S]` at 64 pixels."""
        return torch.nn.functional.adaptive_avg_pool2d(image[None], 64)

    def encode(self, target: torch.Tensor) -> torch.Tensor:
        """Latents `[1, L, C]`."""
        return target.mean().reshape(1, 1, 1).expand(1, self.generator.num_ws, self.generator.w_dim).contiguous()

    def images(self, ws: torch.Tensor) -> torch.Tensor:
        """Pictures `[N, 3, 64, 64]`."""
        return self.generator.synthesis(ws)

    def measure(self, targets: torch.Tensor, images: torch.Tensor, ws: torch.Tensor) -> list[FitReport]:
        """A report with a distance."""
        return [FitReport(0.5, True, 0.5, 0.9, 0.04) for _ in ws]


def small_editor(generator: Any, attribute: str, seed: int) -> Editor:
    """A random editor that says how far it holds."""
    editor = random_editor(generator, seed)
    editor.info = replace(editor.info, attribute=attribute, training={"range": RANGE})
    return editor


def small_studio(folder: Path, attributes: tuple[str, ...] = ("yaw", "smile")) -> Studio:
    """A studio of 64 x 64 pixels; its editors' files lie in `folder`."""
    config = {"architecture": "stylegan2", "img_resolution": 64, "name": "tiny"}
    generator = build_generator(stylegan2_tensors(resolution=64), config, "tiny")
    files = []
    for seed, attribute in enumerate(attributes):
        files.append(folder / f"{attribute}.safetensors")
        small_editor(generator, attribute, seed).save(files[-1])
    studio = Studio(generator, editors=files)
    studio._projector = MeanProjector(generator)  # type: ignore[assignment]
    return studio
