"""Aligned faces at the size that a projection looks at."""

from __future__ import annotations

import os

import torch.nn.functional as F
from torch import Tensor

from deltafast.faces.photos import PhotoReader

__all__ = ["at_size", "read_face"]


def at_size(image: Tensor, size: int) -> Tensor:
    """Return an aligned face `[3, S, S]` in [-1, 1] as `[1, 3, size, size]` (bicubic, averaging where it reduces)."""
    target = F.interpolate(image[None], (size, size), mode="bicubic", antialias=True, align_corners=False)
    return target.clamp(-1, 1)


def read_face(path: str | os.PathLike[str], size: int = 256) -> Tensor:
    """Read an aligned face image as `[1, 3, size, size]` float in [-1, 1]; a picture that is not square is refused.

    Raises `ImageError` when it cannot be read, is not square, or is smaller than 32 pixels.
    """
    (face,) = PhotoReader(align=False).read(path).faces
    return at_size(face.image, size)
