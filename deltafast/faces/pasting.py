"""An edited face put back into its photo, through a mask that fades towards the crop's border."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from deltafast.errors import InvalidInputError
from deltafast.faces.alignment import Alignment
from deltafast.faces.cutting import side_of, surroundings

__all__ = ["paste_back"]

_STRIP = 1 << 20  # pixels that are blended at once


def paste_back(
    photo: NDArray[np.uint8], edited: NDArray[np.uint8], alignment: Alignment, *, feather: float = 0.15
) -> NDArray[np.uint8]:
    """Return a copy of `photo` in which the aligned face has become `edited`.

    `photo`: uint8 `[H, W, 3]`, the upright photo that was aligned; `edited`: uint8 `[S, S, 3]`, of any S;
    `feather`: the share of the crop's side, 0 to 0.5, over which the edit fades out towards the crop's border, its
    corners rounded alike. Where the crop was cut beyond the photo's border, the edit also fades towards that border,
    over the part that the alignment had blurred. Outside of the mask the photo keeps its very bytes.

    Raises `InvalidInputError` for wrong types, shapes or values, and for a photo of another size than was aligned.
    """
    _check(photo, edited, alignment, feather)
    height, width = photo.shape[:2]
    result: NDArray[np.uint8] = photo.copy()
    quad = alignment.quad
    low = np.maximum(np.floor(quad.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(quad.max(axis=0)), (width, height)).astype(int)
    if (high <= low).any():
        return result
    picture = _at_scale(edited, side_of(quad))  # [s, s, 3]
    to_square = np.linalg.inv(np.stack([quad[3] - quad[0], quad[1] - quad[0]], axis=1))  # pixels -> 0..1, 0..1
    around = surroundings(quad, width, height)
    x = np.arange(low[0], high[0], dtype=np.float64)  # [w]
    rows = max(1, _STRIP // len(x))
    for top in range(int(low[1]), int(high[1]), rows):
        y = np.arange(top, min(top + rows, high[1]), dtype=np.float64)  # [h]
        place = np.stack(np.broadcast_arrays(x[None], y[:, None]), axis=-1) + 0.5 - quad[0]  # [h, w, 2]
        u = place @ to_square.T  # [h, w, 2], 0..1 within the crop
        mask = _mask(u, feather) * np.clip(-3 * around.invented(x, y), 0, 1)  # [h, w]
        inside = mask > 0
        if not inside.any():
            continue
        weight = mask[inside][:, None]  # [n, 1]
        new = _sample(picture, u[inside])  # [n, 3]
        part = result[top : top + len(y), low[0] : high[0]]  # a view
        old = part[inside].astype(np.float64)  # [n, 3]
        part[inside] = np.rint(old + (new - old) * weight)
    return result


def _mask(u: NDArray[np.float64], feather: float) -> NDArray[np.float64]:
    """1 inside, 0 at the border of the unit square and beyond, smooth between; `u` `[..., 2]`."""
    edge = np.minimum(u, 1 - u)  # distance from the nearer border, along each axis
    if feather == 0:
        return np.asarray((edge >= 0).all(axis=-1), dtype=np.float64)
    short = np.clip(1 - edge / feather, 0, None)
    inward = np.clip(1 - np.hypot(short[..., 0], short[..., 1]), 0, 1)
    return np.asarray(inward * inward * (3 - 2 * inward))


def _at_scale(edited: NDArray[np.uint8], side: float) -> NDArray[np.uint8]:
    """Reduce `edited` to the size that it has in the photo, where that is smaller, so that sampling it is enough."""
    size = max(1, math.ceil(side))
    if size >= len(edited):
        return edited
    return np.asarray(Image.fromarray(edited).resize((size, size), Image.Resampling.LANCZOS))


def _sample(picture: NDArray[np.uint8], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values `[n, 3]` of `picture` at places `u` `[n, 2]` of the unit square, between pixels by cubic splines."""
    place = (u * picture.shape[1::-1] - 0.5).T[::-1]  # [2, n]: row, column
    result = np.empty((len(u), 3))
    for channel in range(3):
        values = picture[..., channel].astype(np.float32)
        result[:, channel] = ndimage.map_coordinates(values, place, order=3, mode="nearest")
    return result.clip(0, 255)


def _check(photo: NDArray[np.uint8], edited: NDArray[np.uint8], alignment: Alignment, feather: float) -> None:
    for name, image in (("photo", photo), ("edited", edited)):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            got = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
            raise InvalidInputError(f"{name} must be a uint8 array [H, W, 3], got {got}")
    if edited.shape[0] != edited.shape[1]:
        size = f"{edited.shape[1]} x {edited.shape[0]}"
        raise InvalidInputError(f"edited must be square, as aligned faces are; got {size}")
    if not 0 <= feather <= 0.5:
        raise InvalidInputError(f"feather must be a share of the crop's side from 0 to 0.5, got {feather!r}")
    if tuple(alignment.photo_size) != photo.shape[1::-1]:
        was, given = (" x ".join(str(v) for v in size) for size in (alignment.photo_size, photo.shape[1::-1]))
        raise InvalidInputError(f"the photo that was aligned has {was} pixels, this one {given}")
