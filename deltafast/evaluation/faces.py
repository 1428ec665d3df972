"""Faces in images: the largest face's 68 landmarks and 128-d descriptor, by dlib's published networks.

The models come from the PyPI packages `dlib-bin` and `face-recognition-models` (the optional extra `evaluate`). They
are independent of everything that deltafast trains, so they can judge it.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.progress import track

__all__ = ["METER_VERSION", "MIRRORED_LANDMARKS", "Face", "FaceMeter", "mirrored_landmarks", "stack_faces"]

METER_VERSION = 1  # part of cache keys: raised whenever the same image would be measured differently

_MODELS_PACKAGE = "face_recognition_models"
_LANDMARK_MODEL = "shape_predictor_68_face_landmarks.dat"
_DESCRIPTOR_MODEL = "dlib_face_recognition_resnet_model_v1.dat"
_INSTALL = (
    'install the extra: pip install "deltafast[evaluate]" (the PyPI packages dlib-bin and face-recognition-models)'
)

# (longest side in pixels, times the detector doubles the image): cheap first, then for small faces
_DETECTION_STAGES = ((256, 0), (256, 1), (512, 1))
_MEASURING_SIZE = 512  # longest side of the image that is measured; dlib rounds landmarks to whole pixels of it

# The detector's box relative to the landmarks it leads to, in units of their RMS distance from their mean, as
# measured on sampled faces: the box below is drawn there again, so that it no longer jumps by the detector's stride.
_BOX_OFFSET_Y = -0.146
_BOX_SIDE = 2.83
_SHIFTS = (-0.06, 0.0, 0.06)  # of the box, as a share of its side
_SCALES = (0.92, 1.0, 1.08)

# Index of the landmark that each landmark becomes in a mirrored image (68-point annotation of iBUG 300-W).
MIRRORED_LANDMARKS: NDArray[np.intp] = np.array(
    [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *range(27, 31),  # bridge of the nose
        *range(35, 30, -1),  # nostrils
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # outer lips
        *(64, 63, 62, 61, 60, 67, 66, 65),  # inner lips
    ],
    dtype=np.intp,
)


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


def mirrored_landmarks(landmarks: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the landmarks `[68, 2]` that the mirrored image of `width` pixels shows."""
    mirrored: NDArray[np.float64] = landmarks[MIRRORED_LANDMARKS].copy()  # [68, 2]
    mirrored[:, 0] = width - 1 - mirrored[:, 0]
    return mirrored


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

    The landmark predictor is run on nine boxes around the face and averaged, which halves its noise: on sampled
    faces, image and mirror image disagree by 0.9 % of the inter-ocular distance instead of 1.3 %. Images are measured
    at 512 pixels (longest side); faces are looked for at 256 first. Deterministic.

    Raises `DeltafastError` that says what to install where dlib or its models are missing.
    """

    def __init__(self) -> None:
        models = _models_folder()
        self._dlib = _import_dlib()
        self._detector = self._dlib.get_frontal_face_detector()
        try:
            self._landmark_model = self._dlib.shape_predictor(str(models / _LANDMARK_MODEL))
            self._descriptor_model = self._dlib.face_recognition_model_v1(str(models / _DESCRIPTOR_MODEL))
        except RuntimeError as error:
            raise DeltafastError(f"dlib's models in {models} cannot be read ({error}); {_INSTALL}") from error

    def measure(self, image: NDArray[np.uint8]) -> Face | None:
        """Measure the largest face of `image`, uint8 `[H, W, 3]` RGB; None where there is none.

        Raises `InvalidInputError` where `image` is no such array.
        """
        _check_image(image)
        found = self._detect(image)
        if found is None:
            return None
        box, score = found
        working = _resized(image, _MEASURING_SIZE)  # [h, w, 3]
        scale = np.array(image.shape[1::-1]) / np.array(working.shape[1::-1])  # (x, y)
        box = np.concatenate([box[:2] / scale, box[2:] / scale[:1]])
        for _ in range(2):
            box = _box_around(self._landmarks(working, box))
        readings = [
            self._landmarks(working, box * (1.0, 1.0, _SCALES[(i + j) % 3]) + (dx * box[2], dy * box[2], 0.0))
            for i, dx in enumerate(_SHIFTS)
            for j, dy in enumerate(_SHIFTS)
        ]
        landmarks = np.mean(readings, axis=0)  # [68, 2]
        points = self._dlib.points([self._dlib.point(*(int(v) for v in np.rint(p))) for p in landmarks])
        shape = self._dlib.full_object_detection(self._rectangle(box), points)
        descriptor = np.array(self._descriptor_model.compute_face_descriptor(working, shape))  # [128]
        return Face((landmarks + 0.5) * scale - 0.5, descriptor, score)

    def measure_batch(self, images: Iterable[NDArray[np.uint8]], description: str = "") -> list[Face | None]:
        """Measure each of N images (uint8 `[H, W, 3]`, of any sizes), in order; None where no face was found.

        With a `description`, progress is shown.
        """
        return [self.measure(image) for image in (track(images, description) if description else images)]

    def _detect(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], float] | None:
        """Return the largest face's box (centre x, centre y, side) in pixels of `image`, and its score."""
        for size, doublings in _DETECTION_STAGES:
            small = _resized(image, min(size, max(image.shape[:2])))
            rectangles, scores, _ = self._detector.run(small, doublings, 0.0)
            if rectangles:
                widest = max(range(len(rectangles)), key=lambda k: rectangles[k].width())
                r = rectangles[widest]
                scale = np.array(image.shape[1::-1]) / np.array(small.shape[1::-1])
                centre = (np.array([r.left() + r.right(), r.top() + r.bottom()]) / 2 + 0.5) * scale - 0.5
                return np.array([*centre, r.width() * scale[0]]), float(scores[widest])
        return None

    def _landmarks(self, image: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.float64]:
        shape = self._landmark_model(image, self._rectangle(box))
        return np.array([(p.x, p.y) for p in shape.parts()], dtype=np.float64)  # [68, 2]

    def _rectangle(self, box: NDArray[np.float64]) -> Any:
        x, y, half = box[0], box[1], box[2] / 2
        return self._dlib.rectangle(*(round(float(v)) for v in (x - half, y - half, x + half, y + half)))


def _box_around(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    centre = landmarks.mean(axis=0)
    spread = np.sqrt(((landmarks - centre) ** 2).sum(axis=1).mean())
    return np.array([centre[0], centre[1] + _BOX_OFFSET_Y * spread, _BOX_SIDE * spread])


def _resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize `image` so that its longer side has `size` pixels: area means downwards, bicubic upwards."""
    longest = max(image.shape[:2])
    if longest == size:
        return np.ascontiguousarray(image)
    height, width = (max(1, round(side * size / longest)) for side in image.shape[:2])
    way = Image.Resampling.BOX if longest > size else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image).resize((width, height), way))


def _check_image(image: NDArray[np.uint8]) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InvalidInputError(f"a face is measured on a uint8 array [H, W, 3] in RGB, got {got}")
    if min(image.shape[:2]) < 16:
        raise InvalidInputError(f"an image of {image.shape[1]} x {image.shape[0]} pixels is too small to show a face")


def _import_dlib() -> Any:
    try:
        return importlib.import_module("dlib")
    except ImportError as error:
        raise DeltafastError(f"measuring faces needs dlib, which cannot be imported ({error}); {_INSTALL}") from error


def _models_folder() -> Path:
    """Locate the models without importing their package, which asks for setuptools' removed pkg_resources."""
    spec = importlib.util.find_spec(_MODELS_PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec is not None else []:
        folder = Path(location) / "models"
        if (folder / _LANDMARK_MODEL).is_file() and (folder / _DESCRIPTOR_MODEL).is_file():
            return folder
    raise DeltafastError(f"measuring faces needs the model files of face-recognition-models; {_INSTALL}")
