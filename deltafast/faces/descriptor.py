"""The 128-d descriptor of a face, by dlib's ResNet: the same person below a distance of about 0.6."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.faces.descriptor_network import CHIP_SIZE, DescriptorNetwork
from deltafast.faces.models import INSTALL, import_dlib, model_path

__all__ = ["DescriptorReader"]

_MODEL = "dlib_face_recognition_resnet_model_v1.dat"
_PADDING = 0.25  # of a face's picture, as dlib cuts it


class DescriptorReader:
    """Reads the descriptor of a face whose landmarks are known: dlib's picture of the face, dlib's network in torch.

    Raises `DeltafastError` that says what to install where dlib or its model is missing.
    """

    def __init__(self) -> None:
        self._dlib = import_dlib()
        path = model_path(_MODEL)
        try:
            self._network = DescriptorNetwork(path.read_bytes())
        except (OSError, InvalidInputError) as error:
            raise DeltafastError(f"dlib's model {path} cannot be read ({error}); {INSTALL}") from error

    def __reduce__(self) -> tuple[type[DescriptorReader], tuple[()]]:
        return type(self), ()  # dlib's objects do not pickle; they are read from their files again

    def read(self, image: NDArray[np.uint8], landmarks: NDArray[np.float64], rectangle: Any) -> NDArray[np.float64]:
        """Return the descriptor `[128]` of the face with `landmarks` `[68, 2]` in pixels of `image` `[H, W, 3]`.

        `rectangle` is the face's box as dlib's rectangle.
        """
        points = self._dlib.points([self._dlib.point(*(int(v) for v in np.rint(p))) for p in landmarks])
        shape = self._dlib.full_object_detection(rectangle, points)
        chip = self._dlib.get_face_chip(image, shape, CHIP_SIZE, _PADDING)
        descriptor: NDArray[np.float64] = self._network(np.asarray(chip)[None])[0]
        return descriptor  # [128]
