"""What a face does, in numbers: pose, mouth, eyes, brows and light, off landmarks and pixels.

None of these measures changes when the picture is moved or scaled. Sources: eye aspect ratio, Soukupova and Cech,
CVWW 2016; luminance of linear light, ITU-R BT.709.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from deltafast.faces.meter import Face
from deltafast.faces.pose import Pose, fit_pose, unprojected

__all__ = [
    "MEASURES",
    "TARGET_MEASURES",
    "attribute_table",
    "brow_height",
    "eye_openness",
    "measure_attributes",
    "mouth_opening",
    "mouth_width",
    "shading",
    "vertical_shading",
]

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

# name -> unit. Each is signed so that the editor's positive direction raises it, but for eye_openness.
MEASURES = {
    "yaw": "degree",
    "pitch": "degree",
    "mouth_width": "share of the face's width",
    "mouth_opening": "share of the face's width",
    "eye_openness": "eye aspect ratio",
    "shading": "ln(right / left) of linear luminance",
    "brow_height": "share of the distance between the eyes",
    "vertical_shading": "ln(upper / lower) of linear luminance",
}

# attribute of an editor -> (the measure that it should change, the sign in which alpha > 0 does)
TARGET_MEASURES = {
    "yaw": ("yaw", 1.0),
    "pitch": ("pitch", 1.0),
    "smile": ("mouth_width", 1.0),
    "eyes-closed": ("eye_openness", -1.0),
    "mouth-open": ("mouth_opening", 1.0),
    "brows-raised": ("brow_height", 1.0),
    "light": ("shading", 1.0),
    "light-elevation": ("vertical_shading", 1.0),
}

# outline of the cheek on the viewer's left, below the eye and beside nose and mouth, and its mirror image
_LEFT_CHEEK = (1, 2, 3, 4, 48, 31, 40, 41, 36)
_RIGHT_CHEEK = (15, 14, 13, 12, 54, 35, 47, 46, 45)
# below the eye beside the nose, and from the mouth's corner to the jaw, on the viewer's left, and their mirror images:
# skin that a fringe does not hide, facing as far up and as far down as the sides of a face do
_LEFT_UPPER, _LEFT_LOWER = (41, 40, 31, 2, 1), (4, 5, 6, 7, 59, 48)
_RIGHT_UPPER, _RIGHT_LOWER = (46, 47, 35, 14, 15), (12, 11, 10, 9, 55, 54)
_SHRINK = 0.8  # of an outline towards its middle, away from lashes, lips, nostrils and background

_BROWS = slice(17, 27)
_RIGHT_EYE_CORNERS, _LEFT_EYE_CORNERS = [36, 39], [42, 45]  # the head's own right and left


def measure_attributes(image: Pixels, landmarks: Array) -> dict[str, float]:
    """Return all `MEASURES` of the face with `landmarks` `[68, 2]` (pixels of `image`, uint8 `[H, W, 3]`)."""
    pose = fit_pose(landmarks)
    return {
        "yaw": pose.yaw,
        "pitch": pose.pitch,
        "mouth_width": mouth_width(landmarks),
        "mouth_opening": mouth_opening(landmarks),
        "eye_openness": eye_openness(landmarks),
        "shading": shading(image, landmarks),
        "brow_height": brow_height(landmarks, pose),
        "vertical_shading": vertical_shading(image, landmarks),
    }


def attribute_table(images: Sequence[Pixels], faces: Sequence[Face | None]) -> dict[str, Array]:
    """Return every measure of N images as float64 `[N]`, NaN where no face was found."""
    rows = [
        dict.fromkeys(MEASURES, float("nan")) if face is None else measure_attributes(image, face.landmarks)
        for image, face in zip(images, faces, strict=True)
    ]
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in MEASURES}


def mouth_width(landmarks: Array) -> float:
    """Return the distance between the mouth's corners as a share of the face's width at the ears."""
    return _distance(landmarks, 48, 54) / _distance(landmarks, 0, 16)


def mouth_opening(landmarks: Array) -> float:
    """Return the mean gap between the inner lips as a share of the face's width at the ears."""
    gap = np.mean([_distance(landmarks, *pair) for pair in ((61, 67), (62, 66), (63, 65))])
    return float(gap) / _distance(landmarks, 0, 16)


def eye_openness(landmarks: Array) -> float:
    """Return the eye aspect ratio, height over width, of the two eyes on average: about 0.3 open, below 0.15 shut."""
    ratios = [
        (_distance(landmarks, e + 1, e + 5) + _distance(landmarks, e + 2, e + 4)) / (2 * _distance(landmarks, e, e + 3))
        for e in (36, 42)
    ]
    return float(np.mean(ratios))


def brow_height(landmarks: Array, pose: Pose | None = None) -> float:
    """Return how high the brows stand above the eyes' corners as a share of the distance between the eyes.

    Both are measured on the head: the landmarks `[68, 2]` are carried back from the picture to the mean head's depth
    by `pose` (by default fitted to them), so that turning the head does not count. Closing the eyes does not either.
    """
    points = unprojected(landmarks, fit_pose(landmarks) if pose is None else pose)  # [68, 2]
    right, left = points[_RIGHT_EYE_CORNERS].mean(axis=0), points[_LEFT_EYE_CORNERS].mean(axis=0)
    height = (right[1] + left[1]) / 2 - points[_BROWS, 1].mean()
    return float(height / np.linalg.norm(left - right))


def shading(image: Pixels, landmarks: Array) -> float:
    """Return ln(R / L), R and L being the mean linear-light luminance of the right and the left cheek (viewer's).

    Above 0 where light comes from the viewer's right. exp() of a difference is the factor by which the ratio changed.
    `image` is uint8 sRGB `[H, W, 3]`, `landmarks` `[68, 2]` in its pixels. A cheek outside the picture gives NaN.
    """
    right, left = (_brightness(image, landmarks[list(outline)]) for outline in (_RIGHT_CHEEK, _LEFT_CHEEK))
    return _log_ratio(right, left)


def vertical_shading(image: Pixels, landmarks: Array) -> float:
    """Return ln(U / L), U and L being the mean linear-light luminance of upper and lower skin, both sides together.

    Upper is the skin below the eyes, lower that between mouth and jaw. The higher the light stands, the larger it is;
    a beard raises it too, so only its changes on one face say where the light went. Arguments as for `shading`.
    """
    left, right = (_LEFT_UPPER, _LEFT_LOWER), (_RIGHT_UPPER, _RIGHT_LOWER)
    sides = [[_brightness(image, landmarks[list(outline)]) for outline in side] for side in (left, right)]
    upper, lower = np.mean(sides, axis=0)
    return _log_ratio(float(upper), float(lower))


def _brightness(image: Pixels, outline: Array) -> float:
    """Return the mean linear luminance within an outline `[n, 2]` that is shrunk first; NaN outside the picture."""
    polygon = outline.mean(axis=0) + _SHRINK * (outline - outline.mean(axis=0))
    low = np.clip(np.floor(polygon.min(axis=0)).astype(int), 0, None)
    high = np.ceil(polygon.max(axis=0)).astype(int) + 1
    patch = image[low[1] : high[1], low[0] : high[0]]  # [h, w, 3]
    if patch.size == 0:
        return float("nan")
    canvas = Image.new("1", (patch.shape[1], patch.shape[0]))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in (polygon - low).tolist()], fill=1)
    inside = np.asarray(canvas)  # [h, w]
    return float(_luminance(patch[inside]).mean()) if inside.any() else float("nan")


def _log_ratio(first: float, second: float) -> float:
    return float(np.log((first + 1e-4) / (second + 1e-4)))


def _distance(landmarks: Array, first: int, second: int) -> float:
    return float(np.linalg.norm(landmarks[first] - landmarks[second]))


def _luminance(pixels: Pixels) -> Array:
    """sRGB uint8 `[..., 3]` -> linear luminance in [0, 1] `[...]`."""
    value = pixels.astype(np.float64) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear @ np.array([0.2126, 0.7152, 0.0722]))
