"""The 128-d descriptor of a face, by dlib's ResNet: the same person below a distance of about 0.6."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.faces.models import import_dlib, load_model

__all__ = ["DescriptorReader"]

_MODEL = "dlib_face_recognition_resnet_model_v1.dat"


class DescriptorReader:
    """Reads the descriptor of a face whose landmarks are known.

    Raises `DeltafastError` that says what to install where dlib or its model is missing.
    """

    def __init__(self) -> None:
        self._dlib = import_dlib()
        self._network = load_model("face_recognition_model_v1", _MODEL)

    def __reduce__(self) -> tuple[type[DescriptorReader], tuple[()]]:
        return type(self), ()  # dlib's objects do not pickle; they are read from their files again

    def read(self, image: NDArray[np.uint8], landmarks: NDArray[np.float64], rectangle: Any) -> NDArray[np.float64]:
        """Return the descriptor `[128]` of the face with `landmarks` `[68, 2]` in pixels of `image` `[H, W, 3]`.

        `rectangle` is the face's box as dlib's rectangle.
        """
        points = self._dlib.points([self._dlib.point(*(int(v) for v in np.rint(p))) for p in landmarks])
        shape = self._dlib.full_object_detection(rectangle, points)
        return np.array(self._network.compute_face_descriptor(image, shape))  # [128]
