"""All faces of a photo, whatever its size: looked for from coarse to fine, their landmarks read at their own scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deltafast.errors import InvalidInputError
from deltafast.faces.detection import FaceDetector
from deltafast.faces.landmarks import LandmarkReader

__all__ = ["SEARCHED", "FaceFinder", "FoundFace"]

SEARCHED = 2048  # pixels; a photo is looked through with a longest side of this at most, for faces of 80 of them

_STAGES = (512, 1024, SEARCHED)  # longest sides: faces of a 6th, a 13th and a 26th of the photo's
_SMALLEST = 40  # pixels; the smallest photo in which a face is looked for
_DOUBLED_BELOW = 768  # pixels; photos smaller than this are also looked at doubled
_SURE = 0.3  # score; where all faces are asked for, answers below are taken for patterns
_READ_AT = 256  # pixels that a face's box is given where its landmarks are read
_SURROUNDINGS = 2.0  # sides of the box, around its centre, that are looked at


@dataclass(frozen=True, eq=False)
class FoundFace:
    """One face of a photo.

    `landmarks`: float64 `[68, 2]`, (x, y) in pixels of the photo, the centre of its top left pixel being (0, 0);
    `box`: (left, top, right, bottom), a square around the face in the same coordinates; `score`: the detector's
    confidence, above 0.
    """

    landmarks: NDArray[np.float64]
    box: tuple[float, float, float, float]
    score: float

    @property
    def side(self) -> float:
        """Side of the box in pixels."""
        return self.box[2] - self.box[0]


class FaceFinder:
    """Finds the faces of photos. Raises `DeltafastError` that says what to install where dlib is missing."""

    def __init__(self) -> None:
        self._detector = FaceDetector()
        self._landmarks = LandmarkReader()

    def find(self, photo: NDArray[np.uint8], *, every: bool = True) -> list[FoundFace]:
        """Return the faces of `photo`, uint8 `[H, W, 3]` RGB upright, the largest first; an empty list for none.

        Found are faces that look roughly at the camera and are turned by less than some 30 degrees in the picture
        plane, from about 4 % of the photo's longer side on. With `every=False` only the largest is returned, which
        is quicker, since faces are looked for from large to small. Deterministic.
        """
        if not isinstance(photo, np.ndarray) or photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            got = f"{photo.dtype} {list(photo.shape)}" if isinstance(photo, np.ndarray) else type(photo).__name__
            raise InvalidInputError(f"faces are looked for in a uint8 array [H, W, 3] in RGB, got {got}")
        if min(photo.shape[:2]) < _SMALLEST:
            return []
        longest = max(photo.shape[:2])
        stages = [(min(size, longest), 0) for size in _STAGES if size < 2 * longest]
        if longest < _DOUBLED_BELOW:
            stages.append((longest, 1))
        kept: list[tuple[NDArray[np.float64], float]] = []
        for size, doublings in stages:
            found = self._detector.detect(photo, size, doublings)
            kept += [one for one in found if not any(_same(one[0], other[0]) for other in kept)]
            if not every and any(score >= _SURE for _, score in found):
                break
        if any(score >= _SURE for _, score in kept):
            kept = [one for one in kept if one[1] >= _SURE]
        if not every and kept:
            kept = [max(kept, key=lambda one: one[0][2])]
        faces = [self._read(photo, box, score) for box, score in kept]
        return sorted(faces, key=lambda face: (-face.side, face.box))

    def _read(self, photo: NDArray[np.uint8], box: NDArray[np.float64], score: float) -> FoundFace:
        """Read the landmarks of the face in `box` in its surroundings, resized to where they are read best."""
        height, width = photo.shape[:2]
        reach = box[2] * _SURROUNDINGS / 2
        left, top = (max(0, int(np.floor(v - reach))) for v in box[:2])
        right, bottom = min(width, int(np.ceil(box[0] + reach)) + 1), min(height, int(np.ceil(box[1] + reach)) + 1)
        cut = Image.fromarray(np.ascontiguousarray(photo[top:bottom, left:right]))
        size = tuple(max(1, round(side * _READ_AT / box[2])) for side in cut.size)
        way = Image.Resampling.BOX if size[0] < cut.size[0] else Image.Resampling.BICUBIC
        working = np.asarray(cut.resize(size, way))  # [h, w, 3]
        scale = np.array(cut.size) / np.array(size)  # (x, y)
        corner = np.array([left, top])
        start = np.array([*((box[:2] - corner + 0.5) / scale - 0.5), _READ_AT])
        landmarks, fitted = self._landmarks.read(working, start)
        x, y = (fitted[:2] + 0.5) * scale - 0.5 + corner
        half = fitted[2] * scale[0] / 2
        square = tuple(round(float(v), 3) for v in (x - half, y - half, x + half, y + half))
        return FoundFace((landmarks + 0.5) * scale - 0.5 + corner, square, score)  # type: ignore[arg-type]


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether two boxes (centre x, centre y, side) show one face: they share more than 30 % of what they cover."""
    low = np.maximum(one[:2] - one[2] / 2, other[:2] - other[2] / 2)
    high = np.minimum(one[:2] + one[2] / 2, other[:2] + other[2] / 2)
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared > 0.3 * (float(one[2] ** 2 + other[2] ** 2) - shared)
