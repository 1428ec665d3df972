"""Turning the head on its neck."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["turn"]


def turn(
    vertices: NDArray[np.float64],
    weight: NDArray[np.float64],
    pivot: NDArray[np.float64],
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
) -> NDArray[np.float64]:
    """Rotate vertices `[V, 3]` about `pivot` `[3]`, each by its `weight` `[V]` of the angles (degrees).

    yaw > 0 turns the face to the viewer's right, pitch > 0 up, roll > 0 tilts the crown to the viewer's left;
    roll is applied first, then pitch, then yaw. Weighting the angles bends the neck instead of shearing it.
    """
    x, y, z = (vertices - pivot).T
    x, y = _rotated(x, y, np.radians(roll) * weight)
    z, y = _rotated(z, y, np.radians(pitch) * weight)
    z, x = _rotated(z, x, np.radians(yaw) * weight)
    return np.stack([x, y, z], 1) + pivot


def _rotated(
    a: NDArray[np.float64], b: NDArray[np.float64], angle: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotate the plane (a, b) from a towards b."""
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * a - sin * b, sin * a + cos * b
