"""An edited face put back into its photo, through a mask that fades out around the face."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

from deltafast.errors import InvalidInputError
from deltafast.faces.alignment import Alignment
from deltafast.faces.cutting import side_of, surroundings

__all__ = ["PASTE_MASKS", "PasteMask", "paste_back"]

PasteMask: TypeAlias = Literal["face", "crop"]
PASTE_MASKS: tuple[PasteMask, ...] = ("face", "crop")

_STRIP = 1 << 18  # pixels that are blended at once
_REACH = 0.09  # sides of the crop: where the face's mask ends, beyond its outline
_FOREHEAD = 0.75  # of the way from chin to brows, again above the brows: about the hairline
_RIM = 0.05  # sides of the crop: the face's mask fades out at the crop's border where it would cross it


def paste_back(
    photo: NDArray[np.uint8],
    edited: NDArray[np.uint8],
    alignment: Alignment,
    *,
    mask: PasteMask = "face",
    feather: float = 0.15,
    unedited: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return a copy of `photo` in which the aligned face has become `edited`.

    - `photo`: uint8 `[H, W, 3]`, the upright photo that was aligned; `edited`: uint8 `[S, S, 3]`, of any S;
    - `mask`: "face" replaces what lies within the outline of jaw, cheeks and forehead and shortly beyond it, so that
      hair and background stay the photo's own; "crop" the whole crop, which suits edits that move hair or ears, and
      is what an image without landmarks (`Alignment.is_whole`) gets;
    - `feather`: the share of the crop's side, 0 to 0.5, over which the mask fades out towards its border;
    - `unedited`: uint8 `[T, T, 3]`, the crop as it was before the edit: then only the difference of the two is added
      to the photo, so that where the edit changes nothing the photo keeps its very bytes, and there is no seam.

    Where the crop was cut beyond the photo's border, the edit also fades towards that border, over the part that the
    alignment had blurred. Outside of the mask the photo keeps its very bytes.

    Raises `InvalidInputError` for wrong types, shapes or values, and for a photo of another size than was aligned.
    """
    _check(photo, edited, alignment, mask, feather)
    if unedited is not None:
        _check(photo, unedited, alignment, mask, feather)
    height, width = photo.shape[:2]
    result: NDArray[np.uint8] = photo.copy()
    quad = alignment.quad
    low = np.maximum(np.floor(quad.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(quad.max(axis=0)), (width, height)).astype(int)
    if (high <= low).any():
        return result
    picture = _at_scale(edited, side_of(quad))  # [s, s, 3]
    before = None if unedited is None else _at_scale(unedited, side_of(quad))  # [t, t, 3]
    to_square = np.linalg.inv(np.stack([quad[3] - quad[0], quad[1] - quad[0]], axis=1))  # pixels -> 0..1, 0..1
    outline = None
    if mask == "face" and alignment.landmarks is not None:
        outline = _outline((alignment.landmarks + 0.5 - quad[0]) @ to_square.T)
    around = surroundings(quad, width, height)
    x = np.arange(low[0], high[0], dtype=np.float64)  # [w]
    rows = max(1, _STRIP // len(x))
    for top in range(int(low[1]), int(high[1]), rows):
        y = np.arange(top, min(top + rows, high[1]), dtype=np.float64)  # [h]
        place = np.stack(np.broadcast_arrays(x[None], y[:, None]), axis=-1) + 0.5 - quad[0]  # [h, w, 2]
        u = place @ to_square.T  # [h, w, 2], 0..1 within the crop
        share = _within_crop(u, feather) if outline is None else _within_face(u, outline, feather)
        share = share * np.clip(-3 * around.invented(x, y), 0, 1)  # [h, w]
        inside = share > 0
        if not inside.any():
            continue
        weight = share[inside][:, None]  # [n, 1]
        new = _sample(picture, u[inside])  # [n, 3]
        part = result[top : top + len(y), low[0] : high[0]]  # a view
        old = part[inside].astype(np.float64)  # [n, 3]
        change = new - (old if before is None else _sample(before, u[inside]))
        part[inside] = np.rint(np.clip(old + change * weight, 0, 255))
    return result


def _within_crop(u: NDArray[np.float64], feather: float) -> NDArray[np.float64]:
    """1 inside, 0 at the border of the unit square and beyond, smooth between; `u` `[..., 2]`."""
    edge = np.minimum(u, 1 - u)  # distance from the nearer border, along each axis
    if feather == 0:
        return np.asarray((edge >= 0).all(axis=-1), dtype=np.float64)
    short = np.clip(1 - edge / feather, 0, None)
    return _smooth(1 - np.hypot(short[..., 0], short[..., 1]))


def _outline(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """The face's outline from landmarks `[68, 2]`, forehead included, as lines `[n, 3]` that enclose it."""
    jaw, brows, bridge, chin = landmarks[:17], landmarks[17:27], landmarks[27:31].mean(axis=0), landmarks[8]
    hairline = brows + (bridge - chin) * _FOREHEAD
    lines: NDArray[np.float64] = ConvexHull(np.concatenate([jaw, brows, hairline])).equations
    return lines


def _within_face(u: NDArray[np.float64], outline: NDArray[np.float64], feather: float) -> NDArray[np.float64]:
    """1 within the outline, 0 from shortly beyond it on, smooth between, and 0 at the crop's border; `u` `[..., 2]`."""
    beyond = (u @ outline[:, :2].T + outline[:, 2]).max(axis=-1)  # negative inside
    share = _smooth((_REACH - beyond) / feather) if feather > 0 else (beyond < _REACH).astype(np.float64)
    return share * _within_crop(u, _RIM)


def _smooth(share: NDArray[np.float64]) -> NDArray[np.float64]:
    bounded = np.clip(share, 0, 1)
    return np.asarray(bounded * bounded * (3 - 2 * bounded))


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


def _check(
    photo: NDArray[np.uint8], edited: NDArray[np.uint8], alignment: Alignment, mask: str, feather: float
) -> None:
    for name, image in (("photo", photo), ("edited", edited)):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            got = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
            raise InvalidInputError(f"{name} must be a uint8 array [H, W, 3], got {got}")
    if edited.shape[0] != edited.shape[1]:
        size = f"{edited.shape[1]} x {edited.shape[0]}"
        raise InvalidInputError(f"edited must be square, as aligned faces are; got {size}")
    if mask not in PASTE_MASKS:
        raise InvalidInputError(f"mask must be one of {', '.join(PASTE_MASKS)}, got {mask!r}")
    if not 0 <= feather <= 0.5:
        raise InvalidInputError(f"feather must be a share of the crop's side from 0 to 0.5, got {feather!r}")
    if tuple(alignment.photo_size) != photo.shape[1::-1]:
        was, given = (" x ".join(str(v) for v in size) for size in (alignment.photo_size, photo.shape[1::-1]))
        raise InvalidInputError(f"the photo that was aligned has {was} pixels, this one {given}")
