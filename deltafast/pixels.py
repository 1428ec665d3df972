"""Images as networks have them and as files have them: the one conversion between floats in [-1, 1] and bytes."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.errors import InvalidInputError

__all__ = ["as_rgb", "in_srgb", "to_arrays", "to_bytes", "to_floats"]


def to_bytes(images: Tensor) -> Tensor:
    """Float images in [-1, 1], of any shape, as uint8 0..255 of the same shape; what lies beyond is cut off.

    The rounding is to the nearest: equivalent to `(images * 127.5 + 127.5).round().clamp(0, 255)`.
    """
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)


def to_arrays(images: Tensor) -> NDArray[np.uint8]:
    """Images `[..., C, H, W]`, float in [-1, 1] or uint8, as uint8 arrays `[..., H, W, C]`, what files are made of."""
    pixels = images if images.dtype == torch.uint8 else to_bytes(images)
    return np.ascontiguousarray(pixels.movedim(-3, -1).cpu().numpy())


def to_floats(pixels: NDArray[np.uint8] | Tensor) -> Tensor:
    """Bytes as fp32 images in [-1, 1]: an array `[..., H, W, C]` as `[..., C, H, W]`, a tensor in its own shape."""
    if isinstance(pixels, np.ndarray):
        return torch.from_numpy(np.array(pixels)).movedim(-1, -3).float() / 127.5 - 1
    return pixels.float() / 127.5 - 1


def as_rgb(images: Tensor) -> Tensor:
    """Images `[N, C, H, W]` of one, three or four channels, uint8 or float in [-1, 1], as RGB `[N, 3, H, W]`.

    Of the same type, and differentiable where they are floats. Grey is repeated; a fourth channel is opacity (1 or 255
    opaque, -1 or 0 not there) and the image is laid over white, as transparent files are when they are read. Raises
    `InvalidInputError` for another number of channels.
    """
    channels = images.shape[-3]
    if channels == 3:
        return images
    if channels == 1:
        return images.expand(*images.shape[:-3], 3, *images.shape[-2:])
    if channels == 4 and images.dtype == torch.uint8:
        return to_bytes(as_rgb(to_floats(images)))
    if channels == 4:
        opacity = (images[..., 3:, :, :].clamp(-1, 1) + 1) / 2  # [N, 1, H, W]
        return images[..., :3, :, :] * opacity + (1 - opacity)
    raise InvalidInputError(f"images have 1 (grey), 3 (RGB) or 4 channels (RGB and opacity), these have {channels}")


def in_srgb(pixels: NDArray[np.uint8], profile: bytes) -> NDArray[np.uint8]:
    """Return uint8 `[H, W, 3]` in the colours of an ICC profile as sRGB; as they are where the profile is damaged."""
    from PIL import Image, ImageCms  # only photos with a profile need it

    try:
        theirs = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        turned = ImageCms.profileToProfile(Image.fromarray(pixels), theirs, ImageCms.createProfile("sRGB"))
    except ImageCms.PyCMSError:
        return pixels
    return np.asarray(turned)
