"""All faces of a photo, whatever its size: looked for from coarse to fine, their landmarks read at their own scale.

Where dlib's frontal detector finds none, they are looked for whichever way is up, in profile and small.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deltafast.errors import DownloadError, InvalidInputError
from deltafast.faces.cutting import cut_square
from deltafast.faces.detection import FaceDetector
from deltafast.faces.framing import face_roll, ffhq_quad, ffhq_square, quad_of_square
from deltafast.faces.landmarks import LandmarkReader
from deltafast.faces.turned_detection import TurnedFace, TurnedFaceDetector, upright_quad

__all__ = ["APART", "SEARCHED", "FaceFinder", "FoundFace"]

SEARCHED = 2048  # pixels; a photo is looked through with a longest side of this at most, for faces of 80 of them
APART = 0.05  # of the inter-ocular distance; readings of landmarks that lie farther apart are uncertain,
_NO_FACE = 0.1  # and farther than this they are no landmarks

_STAGES = (512, 1024, SEARCHED)  # longest sides: faces of a 6th, a 13th and a 26th of the photo's
_SMALLEST = 40  # pixels; the smallest photo in which a face is looked for
_DOUBLED_BELOW = 768  # pixels; photos smaller than this are also looked at doubled
_SURE = 0.3  # score; where all faces are asked for, answers below are taken for patterns
_READ_AT = 256  # pixels that a face's box is given where its landmarks are read
_SURROUNDINGS = 2.0  # sides of the box, around its centre, that are looked at
_UPRIGHT_ENOUGH = 1.0  # degrees; a turned face is turned back until its landmarks say that it is this upright,
_ROUNDS = 4  # or this often
_log = logging.getLogger("deltafast")


@dataclass(frozen=True, eq=False)
class FoundFace:
    """One face of a photo.

    `landmarks`: float64 `[68, 2]`, (x, y) in pixels of the photo, the centre of its top left pixel being (0, 0);
    `box`: (left, top, right, bottom), a square around the face in the same coordinates; `score`: the detector's
    confidence, above 0; `apart`: how far nine readings of the landmarks lie apart, as a share of the inter-ocular
    distance (`LandmarkReader.read_often`); `points`: float64 `[5, 2]`, eyes, nose and mouth's corners as the second
    detector sees them, where they say better than the landmarks how the face lies, as in profile; else None.
    """

    landmarks: NDArray[np.float64]
    box: tuple[float, float, float, float]
    score: float
    apart: float = 0.0
    points: NDArray[np.float64] | None = None

    @property
    def quad(self) -> NDArray[np.float64]:
        """Corners `[4, 2]` of FFHQ's crop of the face, in the landmarks' coordinates."""
        if self.points is None:
            return ffhq_quad(self.landmarks)
        return quad_of_square(*ffhq_square((self.points[0], self.points[1]), self.points[3:].mean(0)))

    @property
    def doubt(self) -> str | None:
        """Why the crop may be a wrong one, in words; None where nothing says so."""
        if self.apart <= APART:
            return None
        return (
            f"the landmarks of the face are uncertain (their readings lie {self.apart:.0%} of the eyes' distance "
            "apart): a profile, a covered face or a drawing; look at the crop"
        )

    @property
    def side(self) -> float:
        """Side of the box in pixels."""
        return self.box[2] - self.box[0]


class FaceFinder:
    """Finds the faces of photos, with `second=False` by dlib's frontal detector alone.

    Raises `DeltafastError` that says what to install where dlib is missing.
    """

    def __init__(self, *, second: bool = True) -> None:
        self._detector = FaceDetector()
        self._landmarks = LandmarkReader()
        self._turned = TurnedFaceDetector() if second else None

    def find(self, photo: NDArray[np.uint8], *, every: bool = True) -> list[FoundFace]:
        """Return the faces of `photo`, uint8 `[H, W, 3]` RGB upright, the largest first; an empty list for none.

        Found are faces that look roughly at the camera and are turned by less than some 30 degrees in the picture
        plane, from about 4 % of the photo's longer side on; in photos without such a face, faces turned by any angle,
        in profile, and from 2 % on, by a second detector, which is fetched the first time (where it cannot be, a line
        in the log says so). With `every=False` only the largest is returned, which is quicker, since faces are looked
        for from large to small. Deterministic.
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
        if not faces or any(face.apart > APART for face in faces):
            faces = self._second_opinion(photo, faces)
            if not every and faces:
                faces = [max(faces, key=lambda face: face.side)]
        return sorted(faces, key=lambda face: (-face.side, face.box))

    def _second_opinion(self, photo: NDArray[np.uint8], faces: list[FoundFace]) -> list[FoundFace]:
        """What the second detector makes of a photo in which dlib found these faces, some without clear landmarks.

        Clear ones stay; others stay, or give way to what is read in the picture turned upright, where both detectors
        see a face; where dlib alone does, they go if dlib is not sure or their landmarks are none. Where none is clear,
        all that the second one sees are faces.
        """
        if self._turned is None:
            return faces
        try:
            seen = self._turned.detect(photo)
        except DownloadError as error:
            _log.warning("faces that are turned or in profile cannot be looked for: %s", error)
            return faces
        clear = [face for face in faces if face.apart <= APART]
        unclear = [face for face in faces if face.apart > APART]
        result = list(clear)
        for one in seen:
            box = np.array([*one.centre, one.side])
            if any(_same(box, _as_box(face)) for face in clear):
                continue
            dlibs = [face for face in unclear if _same(box, _as_box(face))]
            unclear = [face for face in unclear if face not in dlibs]
            if dlibs or not clear:
                result.append(min([*dlibs, self._read_turned(photo, one)], key=lambda face: face.apart))
        return [*result, *(face for face in unclear if face.score >= _SURE and face.apart <= _NO_FACE)]

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
        landmarks, fitted, apart = self._landmarks.read_often(working, start)
        x, y = (fitted[:2] + 0.5) * scale - 0.5 + corner
        half = fitted[2] * scale[0] / 2
        square = tuple(round(float(v), 3) for v in (x - half, y - half, x + half, y + half))
        placed = (landmarks + 0.5) * scale - 0.5 + corner
        return FoundFace(placed, square, score, apart)  # type: ignore[arg-type]

    def _read_turned(self, photo: NDArray[np.uint8], face: TurnedFace) -> FoundFace:
        """Read the landmarks of a turned face in a picture in which it is upright."""
        size = round(_READ_AT * _SURROUNDINGS)
        middle, side, roll = face.centre + 0.5, face.side, face.roll
        for _ in range(_ROUNDS):
            quad = upright_quad(middle, _SURROUNDINGS * side, roll)
            start = np.array([(size - 1) / 2, (size - 1) / 2, _READ_AT])
            found, fitted, apart = self._landmarks.read_often(cut_square(photo, quad, size), start)  # [68, 2], [3]
            left = face_roll(found)
            if abs(left) < _UPRIGHT_ENOUGH or apart > APART:
                break
            roll += left
        unit = np.stack([quad[3] - quad[0], quad[1] - quad[0]]) / size  # the upright picture's axes in the photo
        landmarks, centre = ((points + 0.5) @ unit + quad[0] - 0.5 for points in (found, fitted[:2]))
        half = fitted[2] * _SURROUNDINGS * side / size / 2
        square = tuple(round(float(v), 3) for v in (*(centre - half), *(centre + half)))
        points = face.points if apart > APART else None
        return FoundFace(landmarks, square, face.score, apart, points)  # type: ignore[arg-type]


def _as_box(face: FoundFace) -> NDArray[np.float64]:
    left, top, right, bottom = face.box
    return np.array([(left + right) / 2, (top + bottom) / 2, face.side])


def _same(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether two boxes (centre x, centre y, side) show one face: they share more than 30 % of what they cover."""
    low = np.maximum(one[:2] - one[2] / 2, other[:2] - other[2] / 2)
    high = np.minimum(one[:2] + one[2] / 2, other[:2] + other[2] / 2)
    shared = float(np.prod(np.clip(high - low, 0, None)))
    return shared > 0.3 * (float(one[2] ** 2 + other[2] ** 2) - shared)
