"""The part of an FFHQ-aligned image that a face network wants to see, at the size it wants."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.errors import InvalidInputError

__all__ = ["crop_face"]

_SMALLEST = 16  # pixels of an image's side


def crop_face(images: Tensor, box: tuple[float, float, float], size: int) -> tuple[Tensor, tuple[int, int, int]]:
    """Cut the same square out of all images and resize it; differentiable.

    images: `[N, 3, R, R]`, any R >= 16; box: left, top and side as shares of R. Returns `[N, 3, size, size]`
    (bilinear, averaging where it reduces), channels-last, and the square in pixels: left, top, side. Raises
    `InvalidInputError` for other shapes.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise InvalidInputError(f"faces are read off square images [N, 3, R, R], got {tuple(images.shape)}")
    resolution = images.shape[3]
    if resolution < _SMALLEST:
        raise InvalidInputError(f"faces are read off images of at least {_SMALLEST} pixels a side, got {resolution}")
    left, top, side = (round(share * resolution) for share in box)
    crops = images[:, :, top : top + side, left : left + side]  # [N, 3, side, side]
    crops = F.interpolate(crops, (size, size), mode="bilinear", antialias=side > size)
    return crops.contiguous(memory_format=torch.channels_last), (left, top, side)
