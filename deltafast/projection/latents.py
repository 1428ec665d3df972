"""Aligned faces in memory to latents: what editing needs of projection."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.generators.base import Generator
from deltafast.projection.encoder import Encoder, load_encoder
from deltafast.projection.projector import PHOTO_SIZE, ProjectionSettings, Projector, encode_images
from deltafast.projection.refine import RefineConfig

__all__ = ["project_faces"]


def project_faces(generator: Generator, images: Tensor, *, steps: int = 0, encoder: Encoder | None = None) -> Tensor:
    """Project aligned faces `[N, 3, H, W]` in [-1, 1] into latents `[N, num_ws, w_dim]` of `generator`.

    By the encoder (the bundled one unless another is given), and `steps` steps of refinement from there, each face on
    its own. No gradients are recorded. Raises `EncoderError` when the encoder was trained for another latent space,
    `InvalidInputError` for wrong shapes or NaN.
    """
    encoder = encoder or _bundled_encoder()
    if steps == 0 or len(images) == 0:
        return encode_images(generator, images, encoder=encoder).clone()  # an ordinary tensor, not an inference one
    with torch.inference_mode(False), torch.enable_grad():
        projector = Projector(generator, encoder, ProjectionSettings(RefineConfig(steps=steps)), PHOTO_SIZE)
        size = (projector.size, projector.size)
        refined = []
        for image in images.detach().clone():  # one by one: each stops where it no longer improves
            target = F.interpolate(image[None], size, mode="bicubic", antialias=True).clamp(-1, 1)
            refined.append(projector.refine(target, projector.encode(target), shared_base=False).ws.detach())
        return torch.cat(refined)


@functools.lru_cache(maxsize=1)
def _bundled_encoder() -> Encoder:
    return load_encoder()
