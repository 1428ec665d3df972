"""A z-buffer rasteriser for triangles in numpy, and interpolation over its result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fragments", "depth_map", "interpolate", "rasterise", "vertex_normals"]

_DEPTH_STEPS = float(1 << 20)  # depth is kept in steps of 2^-20 decimetre
_EMPTY = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Fragments:
    """The nearest surface at every covered pixel, in ascending order of pixels."""

    pixel: NDArray[np.int64]  # [P] row * width + column
    triangle: NDArray[np.int64]  # [P] row of the triangle list
    weight: NDArray[np.float32]  # [P, 3] barycentric weights
    depth: NDArray[np.float64]  # [height * width] depth, infinite where nothing is


def rasterise(
    points: NDArray[np.float64], triangles: NDArray[np.int64], height: int, width: int, *, cull: bool = True
) -> Fragments:
    """Draw triangles `[T, 3]` over points `[V, 3]` = (column, row, depth; nearer is smaller) in pixels.

    A pixel is covered when its centre is. With `cull`, triangles seen from behind (clockwise in 3-D, y up) are
    left out. Ties in depth go to the earlier triangle, so the result does not depend on anything else.
    """
    key, rows, bary = _nearest(points, triangles, height, width, cull)
    pixel = np.flatnonzero(key != _EMPTY)
    winner = key[pixel] & 0xFFFFFFFF
    depth = np.full(height * width, np.inf)
    depth[pixel] = (key[pixel] >> 32) / _DEPTH_STEPS
    return Fragments(pixel, rows[winner], bary[winner].astype(np.float32), depth)


def depth_map(
    points: NDArray[np.float64], triangles: NDArray[np.int64], height: int, width: int
) -> NDArray[np.float64]:
    """Return only the depth `[height, width]` of what `rasterise` draws without culling."""
    key, _, _ = _nearest(points, triangles, height, width, False)
    return np.where(key == _EMPTY, np.inf, (key >> 32) / _DEPTH_STEPS).reshape(height, width)


def _nearest(
    points: NDArray[np.float64], triangles: NDArray[np.int64], height: int, width: int, cull: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return per pixel the key (depth << 32 | candidate), and the candidates' triangles and weights."""
    corners = points[triangles]  # [T, 3, 3]
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    low = np.ceil(corners[:, :, :2].min(1) - 0.5)
    high = np.floor(corners[:, :, :2].max(1) - 0.5)
    x0, y0 = np.clip(low[:, 0], 0, width).astype(np.int64), np.clip(low[:, 1], 0, height).astype(np.int64)
    x1, y1 = np.clip(high[:, 0], -1, width - 1).astype(np.int64), np.clip(high[:, 1], -1, height - 1).astype(np.int64)
    columns, lines = x1 - x0 + 1, y1 - y0 + 1
    drawn = (columns > 0) & (lines > 0) & ((area < -1e-9) if cull else (np.abs(area) > 1e-9))
    ids = np.flatnonzero(drawn)
    size = columns[ids] * lines[ids]
    row = np.repeat(ids, size)  # [C] triangle of each candidate
    offset = np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size)
    line = offset // columns[row]
    px = x0[row] + offset - line * columns[row]
    py = y0[row] + line
    inverse = np.zeros(len(area))
    inverse[ids] = 1.0 / area[ids]
    dx, dy, scale = px + 0.5 - a[row, 0], py + 0.5 - a[row, 1], inverse[row]
    w1 = (dx * (c[:, 1] - a[:, 1])[row] - dy * (c[:, 0] - a[:, 0])[row]) * scale
    w2 = (dy * (b[:, 0] - a[:, 0])[row] - dx * (b[:, 1] - a[:, 1])[row]) * scale
    inside = np.flatnonzero((w1 >= -1e-9) & (w2 >= -1e-9) & (w1 + w2 <= 1 + 1e-9))
    row, w1, w2 = row[inside], w1[inside], w2[inside]
    z = a[row, 2] + w1 * (b[row, 2] - a[row, 2]) + w2 * (c[row, 2] - a[row, 2])
    steps = np.clip(z * _DEPTH_STEPS, 0, (1 << 31) - 1).astype(np.int64)
    key = np.full(height * width, _EMPTY)
    np.minimum.at(key, py[inside] * width + px[inside], (steps << 32) | np.arange(len(row)))
    return key, row, np.stack([1.0 - w1 - w2, w1, w2], 1)


def interpolate(values: NDArray[np.float32], triangles: NDArray[np.int64], fragments: Fragments) -> NDArray[np.float32]:
    """Interpolate vertex values `[V]` or `[V, D]` at the fragments: `[P]` or `[P, D]`."""
    corner = triangles[fragments.triangle]  # [P, 3]
    weight = fragments.weight if values.ndim == 1 else fragments.weight[:, :, None]
    result = values[corner[:, 0]] * weight[:, 0]
    result += values[corner[:, 1]] * weight[:, 1]
    result += values[corner[:, 2]] * weight[:, 2]
    return result


def vertex_normals(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return unit normals `[V, 3]`: the area-weighted mean over a vertex's triangles, zero where there are none."""
    a, b, c = points[triangles[:, 0]], points[triangles[:, 1]], points[triangles[:, 2]]
    face = np.cross(b - a, c - a)  # [T, 3]
    index = triangles.T.ravel()
    total = np.stack([np.bincount(index, np.tile(face[:, k], 3), len(points)) for k in range(3)], 1)
    normals: NDArray[np.float64] = total / np.maximum(np.sqrt((total * total).sum(1, keepdims=True)), 1e-12)
    return normals
