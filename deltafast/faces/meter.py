"""The largest face of an image: its 68 landmarks and 128-d descriptor, by dlib's published networks.

They are independent of everything that deltafast trains, so they can judge it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError
from deltafast.faces.descriptor import DescriptorReader
from deltafast.faces.detection import FaceDetector, resized
from deltafast.faces.landmarks import LandmarkReader
from deltafast.progress import track

__all__ = ["METER_VERSION", "Face", "FaceMeter", "stack_faces"]

METER_VERSION = 2  # part of cache keys: raised whenever the same image would be measured differently

# (longest side in pixels, times the detector doubles the image): cheap first, then for small faces
_DETECTION_STAGES = ((256, 0), (256, 1), (512, 1))
_MEASURING_SIZE = 512  # longest side of the image that is measured; dlib rounds landmarks to whole pixels of it


@dataclass(frozen=True)
class Face:
    """One measured face.

    `landmarks`: float64 `[68, 2]`, (x, y) in pixels of the image, the centre of its top left pixel being (0, 0);
    `descriptor`: float64 `[128]`, dlib's face embedding (same person below a distance of about 0.6);
    `score`: the detector's confidence, above 0.
    """

    landmarks: NDArray[np.float64]
    descriptor: NDArray[np.float64]
    score: float


def stack_faces(faces: Sequence[Face | None]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return landmarks `[N, 68, 2]` and descriptors `[N, 128]` of N results, rows of NaN where no face was found."""
    landmarks = np.full((len(faces), 68, 2), np.nan)  # [N, 68, 2]
    descriptors = np.full((len(faces), 128), np.nan)  # [N, 128]
    for row, face in enumerate(faces):
        if face is not None:
            landmarks[row] = face.landmarks
            descriptors[row] = face.descriptor
    return landmarks, descriptors


class FaceMeter:
    """Finds the largest face of an image and reads its landmarks and descriptor.

    Images are measured at 512 pixels (longest side); faces are looked for at 256 first. Deterministic.

    Raises `DeltafastError` that says what to install where dlib or its models are missing.
    """

    def __init__(self) -> None:
        self._detector = FaceDetector()
        self._landmarks = LandmarkReader()
        self._descriptor = DescriptorReader()

    def measure(self, image: NDArray[np.uint8]) -> Face | None:
        """Measure the largest face of `image`, uint8 `[H, W, 3]` RGB; None where there is none.

        Raises `InvalidInputError` where `image` is no such array.
        """
        _check_image(image)
        found = self._detect(image)
        if found is None:
            return None
        box, score = found
        working = resized(image, _MEASURING_SIZE)  # [h, w, 3]
        scale = np.array(image.shape[1::-1]) / np.array(working.shape[1::-1])  # (x, y)
        landmarks, box = self._landmarks.read(working, np.concatenate([box[:2] / scale, box[2:] / scale[:1]]))
        descriptor = self._descriptor.read(working, landmarks, self._landmarks.rectangle(box))  # [128]
        return Face((landmarks + 0.5) * scale - 0.5, descriptor, score)

    def measure_batch(self, images: Iterable[NDArray[np.uint8]], description: str = "") -> list[Face | None]:
        """Measure each of N images (uint8 `[H, W, 3]`, of any sizes), in order; None where no face was found.

        With a `description`, progress is shown.
        """
        return [self.measure(image) for image in (track(images, description) if description else images)]

    def _detect(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], float] | None:
        """Return the largest face's box (centre x, centre y, side) in pixels of `image`, and its score."""
        for size, doublings in _DETECTION_STAGES:
            found = self._detector.detect(image, size, doublings)
            if found:
                return max(found, key=lambda one: one[0][2])
        return None


def _check_image(image: NDArray[np.uint8]) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InvalidInputError(f"a face is measured on a uint8 array [H, W, 3] in RGB, got {got}")
    if min(image.shape[:2]) < 16:
        raise InvalidInputError(f"an image of {image.shape[1]} x {image.shape[0]} pixels is too small to show a face")
