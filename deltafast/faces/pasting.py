"""An edited face put back into its photo, through a mask that fades out around the face."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from deltafast.errors import InvalidInputError
from deltafast.faces.alignment import Alignment
from deltafast.faces.colour_match import MATCHED, rim_correction
from deltafast.faces.cutting import cut_square, side_of, surroundings
from deltafast.faces.paste_masks import PASTE_MASKS, PasteMask, PasteShape, check_person, paste_shape

__all__ = ["PASTE_MASKS", "PasteMask", "mask_of", "paste_back"]

_STRIP = 1 << 18  # pixels that are blended at once
_FINE = 4  # times as fine as a correction is found, photos are cut for it and it is applied


def paste_back(
    photo: NDArray[np.uint8],
    edited: NDArray[np.uint8],
    alignment: Alignment,
    *,
    mask: PasteMask = "face",
    feather: float = 0.15,
    unedited: NDArray[np.uint8] | None = None,
    person: NDArray[np.floating] | None = None,
    match_colours: bool = True,
) -> NDArray[np.uint8]:
    """Return a copy of `photo` in which the aligned face has become `edited`.

    - `photo`: uint8 `[H, W, 3]`, the upright photo that was aligned; `edited`: uint8 `[S, S, 3]`, of any S;
    - `mask`: "face" replaces what lies within the outline of jaw, cheeks and forehead and shortly beyond it, so that
      hair and background stay the photo's own; "head" also hair, ears, glasses and hats, down to the neck, so that they
      move with a head that turns, while background and shoulders stay; "crop" the whole crop. An image without
      landmarks (`Alignment.is_whole`) gets "crop" for "face";
    - `feather`: the share of the crop's side, 0 to 0.5, over which the mask fades out towards its border; a head's
      fades over 0.2 of it;
    - `unedited`: uint8 `[T, T, 3]`, the crop as it was before the edit: then only the difference of the two is added
      to the photo, so that where the edit changes nothing the photo keeps its very bytes, and there is no seam;
    - `person`: floats `[2, M, M]`, 0 to 1, for the mask "head": where in the crop a person is, in the photo and in
      `edited` (`deltafast.face_networks.person_mask` tells). What a turned head leaves uncovered is then the edited
      picture's background. Without it the head is the face's outline widened to where hair mostly is;
    - `match_colours`: bring colours and light along the mask's rim to the photo's (`rim_correction`).

    Where the crop was cut beyond the photo's border, the edit also fades towards that border, over the part that the
    alignment had blurred. Outside of the mask the photo keeps its very bytes.

    Raises `InvalidInputError` for wrong types, shapes or values, and for a photo of another size than was aligned.
    """
    _check(photo, edited, alignment, mask, feather)
    if unedited is not None:
        _check(photo, unedited, alignment, mask, feather)
    if person is not None:
        check_person(person)
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
    shape = mask_of(alignment, mask, feather, person)
    known = person if mask == "head" else None
    correction = _correction(photo, edited, unedited, alignment, shape, known) if match_colours else None
    around = surroundings(quad, width, height)
    x = np.arange(low[0], high[0], dtype=np.float64)  # [w]
    rows = max(1, _STRIP // len(x))
    for top in range(int(low[1]), int(high[1]), rows):
        y = np.arange(top, min(top + rows, high[1]), dtype=np.float64)  # [h]
        place = np.stack(np.broadcast_arrays(x[None], y[:, None]), axis=-1) + 0.5 - quad[0]  # [h, w, 2]
        u = place @ to_square.T  # [h, w, 2], 0..1 within the crop
        share = shape.share(u) * np.clip(-3 * around.invented(x, y), 0, 1)  # [h, w]
        inside = share > 0
        if not inside.any():
            continue
        weight = share[inside][:, None]  # [n, 1]
        new = _sample(picture, u[inside])  # [n, 3]
        part = result[top : top + len(y), low[0] : high[0]]  # a view
        old = part[inside].astype(np.float64)  # [n, 3]
        change = new - (old if before is None else _sample(before, u[inside]))
        if correction is not None:
            change += _between(correction, u[inside], 1)
        part[inside] = np.rint(np.clip(old + change * weight, 0, 255))
    return result


def mask_of(
    alignment: Alignment, mask: PasteMask, feather: float, person: NDArray[np.floating] | None = None
) -> PasteShape:
    """Return the shape that `paste_back` pastes through, in the unit square of the crop; its arguments."""
    landmarks = None
    if alignment.landmarks is not None:
        quad = alignment.quad
        to_square = np.linalg.inv(np.stack([quad[3] - quad[0], quad[1] - quad[0]], axis=1))
        landmarks = (alignment.landmarks + 0.5 - quad[0]) @ to_square.T
    return paste_shape(mask, feather, landmarks, None if person is None else person.astype(np.float64))


def _correction(
    photo: NDArray[np.uint8],
    edited: NDArray[np.uint8],
    unedited: NDArray[np.uint8] | None,
    alignment: Alignment,
    shape: PasteShape,
    person: NDArray[np.floating] | None,
) -> NDArray[np.float64]:
    """What is added to the picture's change of the photo, `[N, N, 3]` over the crop."""
    quad = alignment.quad
    places = (np.arange(MATCHED) + 0.5) / MATCHED
    u = np.stack(np.meshgrid(places, places), axis=-1)  # [G, G, 2]
    place = quad[0] + u[..., :1] * (quad[3] - quad[0]) + u[..., 1:] * (quad[1] - quad[0])  # [G, G, 2]
    seen = ((place >= 0) & (place <= alignment.photo_size)).all(axis=-1)  # [G, G]
    before = unedited
    if before is None:
        whole = np.array_equal(quad, Alignment.of_whole(*alignment.photo_size).quad)
        before = photo if whole else cut_square(photo, quad, _FINE * MATCHED)
    known = None
    if person is not None:
        zoom = (1, MATCHED / person.shape[1], MATCHED / person.shape[2])
        known = ndimage.zoom(person.astype(np.float64), zoom, order=1, mode="nearest", grid_mode=True).clip(0, 1)
    found = rim_correction(_averaged(edited) - _averaged(before), shape.share(u) * seen, known)
    return np.asarray(ndimage.zoom(found, (_FINE, _FINE, 1), order=3, mode="nearest", grid_mode=True))


def _averaged(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    small = Image.fromarray(picture).resize((MATCHED, MATCHED), Image.Resampling.BOX)
    return np.asarray(small).astype(np.float64)


def _at_scale(edited: NDArray[np.uint8], side: float) -> NDArray[np.uint8]:
    """Reduce `edited` to the size that it has in the photo, where that is smaller, so that sampling it is enough."""
    size = max(1, math.ceil(side))
    if size >= len(edited):
        return edited
    return np.asarray(Image.fromarray(edited).resize((size, size), Image.Resampling.LANCZOS))


def _sample(picture: NDArray[np.uint8], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values `[n, 3]` of `picture` at places `u` `[n, 2]` of the unit square, between pixels by cubic splines."""
    return _between(picture, u, 3).clip(0, 255)


def _between(
    picture: NDArray[np.uint8] | NDArray[np.float64], u: NDArray[np.float64], order: int
) -> NDArray[np.float64]:
    place = (u * picture.shape[1::-1] - 0.5).T[::-1]  # [2, n]: row, column
    result = np.empty((len(u), 3))
    for channel in range(3):
        values = picture[..., channel].astype(np.float32)
        result[:, channel] = ndimage.map_coordinates(values, place, order=order, mode="nearest")
    return result


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
