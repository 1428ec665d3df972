"""A small editor with random weights."""

from __future__ import annotations

import torch

from deltafast.delta import DeltaConfig, Editor, EditorInfo
from deltafast.generators.base import Generator
from deltafast.sequence_latents import GeneratorId


def random_editor(generator: Generator, seed: int = 0) -> Editor:
    """An editor of yaw for `generator` that moves slots 0, 2 and 5, with random weights."""
    config = DeltaConfig(dim=2, width=4)
    slots = (0, 2, 5)
    info = EditorInfo(
        "yaw", (-1.0, 0.0, 1.0), generator.num_ws, generator.w_dim, slots, GeneratorId.of(generator), config
    )
    editor = Editor(info).requires_grad_(False)
    random = torch.Generator().manual_seed(seed)
    for parameter in editor.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=random))
    editor.delta[list(slots)] = torch.randn(len(slots), config.dim, generator=random)
    return editor.eval()
