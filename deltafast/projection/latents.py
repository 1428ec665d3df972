"""Aligned faces in memory to latents."""

from __future__ import annotations

from torch import Tensor

from deltafast.generators.base import Generator
from deltafast.projection.encoder import Encoder
from deltafast.projection.projector import ProjectionSettings, Projector
from deltafast.projection.refine import RefineConfig

__all__ = ["project_faces"]


def project_faces(generator: Generator, images: Tensor, *, steps: int = 0, encoder: Encoder | None = None) -> Tensor:
    """Project aligned faces `[N, 3, H, W]` in [-1, 1] into latents `[N, num_ws, w_dim]` of `generator`.

    By the encoder (the bundled one unless another is given), and `steps` steps of refinement from there, each face on
    its own. No gradients are recorded. For many calls make one `Projector`, which keeps its networks. Raises
    `EncoderError` when the encoder was trained for another latent space, `InvalidInputError` for wrong shapes or NaN.
    """
    return Projector(generator, encoder, ProjectionSettings(RefineConfig(steps=steps))).project(images)
