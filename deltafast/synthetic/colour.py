"""Colour: sRGB and linear light, smooth steps, and a repeatable noise volume."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["from_linear", "noise", "step", "to_linear"]

Float32 = NDArray[np.float32]


def to_linear(colour: ArrayLike) -> Float32:
    """Convert sRGB values in 0..1 to linear light (IEC 61966-2-1)."""
    c = np.asarray(colour, np.float64)
    linear: Float32 = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)
    return linear


def from_linear(light: NDArray[np.float32]) -> Float32:
    """Convert linear light to sRGB in 0..1, clipping."""
    c = np.clip(light, 0, 1)
    curve = np.float32(1.055) * c ** np.float32(1 / 2.4) - np.float32(0.055)
    encoded: Float32 = np.where(c <= 0.0031308, c * np.float32(12.92), curve).astype(np.float32)
    return encoded


def step(low: float, high: float, x: NDArray[np.floating]) -> Float32:
    """Return the smooth step from 0 at `low` to 1 at `high` (falling when low > high)."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    smooth: Float32 = (t * t * (np.float32(3) - np.float32(2) * t)).astype(np.float32)
    return smooth


@cache
def _volume() -> Float32:
    """Smooth random values [128, 128, 128] in 0..1, four voxels to a lattice cell, periodic."""
    grid = np.random.default_rng(3).random((32, 32, 32)).astype(np.float32)
    place = np.arange(128) / 4
    low = place.astype(np.int64)
    along = place - low
    blend = (along * along * (3 - 2 * along)).astype(np.float32)
    for axis in range(3):
        shape = [1, 1, 1]
        shape[axis] = -1
        t = blend.reshape(shape)
        grid = np.take(grid, low % 32, axis) * (1 - t) + np.take(grid, (low + 1) % 32, axis) * t
    return np.ascontiguousarray(grid)


def noise(points: Float32, frequency: float, seed: int) -> Float32:
    """Return noise `[P]` in 0..1 at points `[P, 3]`, with `frequency` cells to the decimetre."""
    cell = (points * np.float32(4 * frequency)).astype(np.int64)
    cell = (cell + np.array([37, 91, 53]) * (seed + 1)) & 127
    values: Float32 = _volume()[cell[:, 0], cell[:, 1], cell[:, 2]]
    return values
