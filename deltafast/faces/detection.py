"""Where faces are: dlib's frontal detector."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deltafast.faces.models import import_dlib

__all__ = ["FaceDetector", "resized"]


class FaceDetector:
    """Finds faces of at least 80 pixels in an image of a given size (40 with one doubling, 20 with two).

    Raises `DeltafastError` that says what to install where dlib is missing.
    """

    def __init__(self) -> None:
        self._detector = import_dlib().get_frontal_face_detector()

    def __reduce__(self) -> tuple[type[FaceDetector], tuple[()]]:
        return type(self), ()  # dlib's objects do not pickle; they are read from their files again

    def detect(
        self, image: NDArray[np.uint8], size: int, doublings: int = 0
    ) -> list[tuple[NDArray[np.float64], float]]:
        """Return (box, score) of every face in `image`, uint8 `[H, W, 3]`, best score first.

        The image is looked at with a longest side of at most `size` pixels, doubled `doublings` times. A box is
        (centre x, centre y, side) in pixels of `image`, the centre of the top left pixel being (0, 0); a score is
        above 0.
        """
        small = resized(image, min(size, max(image.shape[:2])))
        scale = np.array(image.shape[1::-1]) / np.array(small.shape[1::-1])  # (x, y)
        rectangles, scores, _ = self._detector.run(small, doublings, 0.0)
        found = []
        for r, score in zip(rectangles, scores, strict=True):
            centre = (np.array([r.left() + r.right(), r.top() + r.bottom()]) / 2 + 0.5) * scale - 0.5
            found.append((np.array([*centre, r.width() * scale[0]]), float(score)))
        return found


def resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize `image` so that its longer side has `size` pixels: area means downwards, bicubic upwards."""
    longest = max(image.shape[:2])
    if longest == size:
        return np.ascontiguousarray(image)
    height, width = (max(1, round(side * size / longest)) for side in image.shape[:2])
    way = Image.Resampling.BOX if longest > size else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((width, height), way))
