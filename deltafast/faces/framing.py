"""FFHQ's framing: which square of a picture its alignment cuts out (Karras et al. 2019, appendix A)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["face_roll", "ffhq_quad", "ffhq_square", "quad_of_square"]

_EYES, _MOUTH_CORNERS = (slice(36, 42), slice(42, 48)), (48, 54)  # of the 68 landmarks
_EYE_FACTOR = 4.0  # side of the square in distances between the eyes
_MOUTH_FACTOR = 3.6  # side of the square in distances from eyes to mouth; the larger of the two is taken
_DOWN = 0.1  # the square's centre lies this share of the way from eyes to mouth


def ffhq_square(
    eyes: tuple[NDArray[np.float64], NDArray[np.float64]], mouth: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centre `[2]` of the square and the vector `[2]` from there to the middle of its right side.

    `eyes` are the middles of the two eyes `[2]`, the one at the picture's left first, `mouth` `[2]` the middle of the
    mouth's corners; x points right and y down. The square turns with the mean of the eyes' line and the line at right
    angles to that from eyes to mouth; its side is the larger of 4 eye distances and 3.6 distances from eyes to mouth.
    """
    across = eyes[1] - eyes[0]
    middle = (eyes[0] + eyes[1]) / 2
    down = mouth - middle
    axis = across + np.array([down[1], -down[0]])
    axis = axis / np.sqrt((axis * axis).sum())
    length = np.sqrt(np.array([(across * across).sum(), (down * down).sum()]))
    half: NDArray[np.float64] = axis * (max(_EYE_FACTOR * length[0], _MOUTH_FACTOR * length[1]) / 2)
    return middle + _DOWN * down, half


def quad_of_square(centre: NDArray[np.float64], half: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners `[4, 2]` of a square: top left, bottom left, bottom right, top right (y points down)."""
    down = np.array([-half[1], half[0]])
    return np.stack([centre - half - down, centre - half + down, centre + half + down, centre + half - down])


def face_roll(landmarks: NDArray[np.float64]) -> float:
    """Return by how many degrees, in [-180, 180], FFHQ's crop of a face is turned clockwise; landmarks `[68, 2]`."""
    left, right = (landmarks[eye].mean(axis=0) for eye in _EYES)
    mouth = (landmarks[_MOUTH_CORNERS[0]] + landmarks[_MOUTH_CORNERS[1]]) / 2
    _, half = ffhq_square((left, right), mouth)
    return float(np.rad2deg(np.arctan2(half[1], half[0])))


def ffhq_quad(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners `[4, 2]` of FFHQ's crop of a face with 68 landmarks `[68, 2]`, in the landmarks' coordinates.

    In the order of `quad_of_square`.
    """
    left, right = (landmarks[eye].mean(axis=0) for eye in _EYES)
    mouth = (landmarks[_MOUTH_CORNERS[0]] + landmarks[_MOUTH_CORNERS[1]]) / 2
    return quad_of_square(*ffhq_square((left, right), mouth))
