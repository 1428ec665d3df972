"""How far apart two faces are: as persons, by dlib's descriptors, and in their landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["identity_cosine", "identity_distance", "inter_ocular", "landmark_error"]

Array = NDArray[np.float64]


def inter_ocular(landmarks: Array) -> float:
    """Return the distance in pixels between the two eyes' centres, of landmarks `[68, 2]`."""
    return float(np.linalg.norm(landmarks[36:42].mean(axis=0) - landmarks[42:48].mean(axis=0)))


def identity_distance(first: Array, second: Array) -> Array:
    """Return the Euclidean distance `[...]` of descriptors `[..., 128]`; dlib's same-person threshold is 0.6."""
    return np.asarray(np.linalg.norm(first - second, axis=-1))


def identity_cosine(first: Array, second: Array) -> Array:
    """Return the cosine `[...]` between descriptors `[..., 128]`."""
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return np.asarray((first * second).sum(axis=-1) / norms)


def landmark_error(reference: Array, other: Array) -> float:
    """Return the mean distance of two sets of landmarks `[68, 2]` as a share of the reference's inter-ocular one."""
    return float(np.linalg.norm(reference - other, axis=1).mean() / inter_ocular(reference))
