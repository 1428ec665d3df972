"""How much of an edited crop is shown where, when it goes back into its photo: the face, the head, or all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from deltafast.errors import InvalidInputError

__all__ = ["PASTE_MASKS", "PasteMask", "PasteShape", "check_person", "paste_shape"]

Array = NDArray[np.float64]
PasteMask: TypeAlias = Literal["face", "head", "crop"]
PASTE_MASKS: tuple[PasteMask, ...] = ("face", "head", "crop")

_REACH = 0.09  # sides of the crop: where the face's mask ends, beyond its outline
_FOREHEAD = 0.75  # of the way from chin to brows, again above the brows: about the hairline
_HEAD_REACH = 0.2  # the same two of a head whose outline is not known: most hair, and some of what is around it
_CROWN = 1.3
_RIM = 0.05  # sides of the crop: a mask fades out at the crop's border where it would cross it
_MARGIN = 0.015  # sides of the crop: so far beyond the outline of the photo's head its mask is full
_HALO = 0.2  # of the feather: over so much it fades beyond that, for there the background is another one
_SHARPENED = (0.25, 0.75)  # shares of a person between which the edited head's outline lies
_NECK = 0.22  # of the way from the nose's bridge to the chin: within so much below the chin a head fades
_SHOULDERS = 0.35  # of that way: so much higher it ends beside the neck
_BESIDE = (0.8, 1.2)  # half widths of the face: what is beside the neck begins there, and is beside there
_BRIDGE, _CHIN, _HALF_WIDTH = (0.5, 0.47), (0.5, 0.8), 0.23  # in an aligned face, about
_PERSON = 0.5  # from this share on a place belongs to a person
_MOST_PLACES = 4096  # a side of a person's mask


@dataclass(frozen=True, eq=False)
class Neck:
    """Where a head ends: the nose's `bridge` and the `chin` `[2]`, and half the face's width, in the unit square."""

    bridge: Array
    chin: Array
    half_width: float

    @classmethod
    def of(cls, landmarks: Array | None) -> Neck:
        """Return that of a face with `landmarks` `[68, 2]`; without them, of an aligned face as they mostly are."""
        if landmarks is None:
            return cls(np.array(_BRIDGE), np.array(_CHIN), _HALF_WIDTH)
        width = float(np.linalg.norm(landmarks[16] - landmarks[0]))
        return cls(landmarks[27:31].mean(axis=0), landmarks[8], width / 2)

    def above(self, u: Array) -> Array:
        """1 down to the chin, and beside the neck to shortly above, 0 where shoulders begin; `u` `[..., 2]`."""
        down = self.chin - self.bridge
        below = ((u - self.bridge) @ down) / (down @ down) - 1  # 0 at the chin's height
        aside = np.abs((u - self.bridge) @ np.array([-down[1], down[0]])) / np.linalg.norm(down) / self.half_width
        beside = smooth((aside - _BESIDE[0]) / (_BESIDE[1] - _BESIDE[0]))
        return smooth(1 - (below + _SHOULDERS * beside) / _NECK)


@dataclass(frozen=True, eq=False)
class PasteShape:
    """The share of the edited picture in each place of the crop.

    `lines` `[K, 3]`: a convex outline that is filled; `reach`: how far beyond it the mask goes; `head` `[M, M]`: a map
    in its place; with neither, all of the crop. With a `neck`, what is below it fades away.
    """

    feather: float
    lines: Array | None = None
    reach: float = _REACH
    head: Array | None = None
    neck: Neck | None = None

    def share(self, u: Array) -> Array:
        """Return 0 to 1, `[...]`, at places `u` `[..., 2]` (x, y) of the unit square, (0, 0) its top left corner."""
        if self.head is not None:
            place = np.moveaxis(u, -1, 0)[::-1] * len(self.head) - 0.5  # [2, ...]: row, column
            share = ndimage.map_coordinates(self.head, place, order=1, mode="nearest")
            return np.asarray(share * within_crop(u, _RIM))
        if self.lines is None:
            return within_crop(u, self.feather)
        beyond = (u @ self.lines[:, :2].T + self.lines[:, 2]).max(axis=-1)  # negative inside
        feather = self.feather
        share = smooth((self.reach - beyond) / feather) if feather > 0 else (beyond < self.reach).astype(np.float64)
        if self.neck is not None:
            share = share * self.neck.above(u)
        return share * within_crop(u, _RIM)


def paste_shape(mask: PasteMask, feather: float, landmarks: Array | None, person: Array | None) -> PasteShape:
    """Return the shape of a mask.

    - `feather`: 0 to 0.5 sides of the crop, over which masks of faces and crops fade out; a head's over 0.2 of it;
    - `landmarks` `[68, 2]`, in the unit square of the crop; without them a face's mask is the crop's, as is that of a
      head whose `person` is not known either;
    - `person` `[2, M, M]`, 0 to 1: where in the crop a person is, before and after the edit. A head is both above the
      neck: hair, ears, glasses and hats. Without it, it is the face's outline widened to what hair mostly covers.
    """
    if mask == "crop" or (landmarks is None and (mask == "face" or person is None)):
        return PasteShape(feather)
    if mask == "face":
        assert landmarks is not None
        return PasteShape(feather, _outline(landmarks, _FOREHEAD))
    neck = Neck.of(landmarks)
    if person is None:
        assert landmarks is not None
        return PasteShape(feather, _outline(landmarks, _CROWN), _HEAD_REACH, neck=neck)
    return PasteShape(feather, head=_head(person, neck, _HALO * feather))


def check_person(person: Any) -> None:
    """Raise `InvalidInputError` unless `person` holds floats from 0 to 1, `[2, M, M]` with M from 16 to 4,096."""
    if not isinstance(person, np.ndarray) or person.ndim != 3 or len(person) != 2 or person.shape[1] != person.shape[2]:
        got = list(person.shape) if isinstance(person, np.ndarray) else type(person).__name__
        raise InvalidInputError(f"person must be an array [2, M, M], before and after the edit; got {got}")
    if not np.issubdtype(person.dtype, np.floating) or not 16 <= person.shape[1] <= _MOST_PLACES:
        raise InvalidInputError(
            f"person must hold floats, 16 to {_MOST_PLACES} a side; got {person.dtype} {list(person.shape)}"
        )
    if not bool(((person >= 0) & (person <= 1)).all()):  # NaN is neither
        raise InvalidInputError("person must hold shares from 0 to 1")


def within_crop(u: Array, feather: float) -> Array:
    """1 inside, 0 at the border of the unit square and beyond, smooth between; `u` `[..., 2]`."""
    edge = np.minimum(u, 1 - u)  # distance from the nearer border, along each axis
    if feather == 0:
        return np.asarray((edge >= 0).all(axis=-1), dtype=np.float64)
    short = np.clip(1 - edge / feather, 0, None)
    return smooth(1 - np.hypot(short[..., 0], short[..., 1]))


def smooth(share: Array) -> Array:
    """0 and below to 0, 1 and above to 1, between them a cubic without kinks."""
    bounded = np.clip(share, 0, 1)
    return np.asarray(bounded * bounded * (3 - 2 * bounded))


def _outline(landmarks: Array, forehead: float) -> Array:
    """The face's outline from landmarks `[68, 2]`, forehead included, as lines `[n, 3]` that enclose it."""
    jaw, brows, bridge, chin = landmarks[:17], landmarks[17:27], landmarks[27:31].mean(axis=0), landmarks[8]
    hairline = brows + (bridge - chin) * forehead
    lines: Array = ConvexHull(np.concatenate([jaw, brows, hairline])).equations
    return lines


def _head(person: Array, neck: Neck, halo: float) -> Array:
    """The head's share of a mask `[M, M]`, of the persons before and after `[2, M, M]`, without others beside.

    Beyond the photo's head only the edited head itself is seen: the background stays the photo's where it shows it.
    """
    count = person.shape[1]
    places = (np.arange(count) + 0.5) / count
    u = np.stack(np.meshgrid(places, places), axis=-1)  # [M, M, 2]
    above = neck.above(u)
    parts, found = ndimage.label((person >= _PERSON).any(axis=0) & (above > 0))
    middle, reach = (neck.bridge + neck.chin) / 2, np.hypot(*(neck.chin - neck.bridge)) / 2
    near = np.hypot(*np.moveaxis(u - middle, -1, 0)) < reach  # [M, M]
    of_face = np.bincount(parts[near], minlength=found + 1)
    of_face[0] = 0
    if not of_face.any():
        return np.zeros_like(above)
    own = parts == of_face.argmax()
    photo = own & (person[0] >= _PERSON)
    beyond = ndimage.distance_transform_edt(~photo) / count if photo.any() else np.ones_like(above)
    fading = smooth(1 - (beyond - _MARGIN) / halo) if halo > 0 else (beyond <= _MARGIN).astype(np.float64)
    low, high = _SHARPENED
    edited = smooth((person[1] - low) / (high - low)) * ndimage.binary_dilation(own, iterations=2)
    return np.asarray(np.maximum(fading, edited) * above)
