"""Catmull-Clark subdivision on meshes whose result is known."""

from __future__ import annotations

import numpy as np

from deltafast.synthetic.subdivision import catmull_clark

_CUBE = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
_CUBE_FACES = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def test_cube_has_the_points_of_the_published_rules() -> None:
    fine = catmull_clark(8, _CUBE_FACES, np.zeros((6, 4, 2)))
    points = fine(_CUBE)
    assert len(points) == 8 + 12 + 6
    assert len(fine.faces) == 24
    # a corner: (Q + 2 R + (n - 3) S) / n with n = 3, Q = 1/3, R = 2/3 in each coordinate
    np.testing.assert_allclose(np.abs(points[:8]), 5 / 9)
    edges = np.sort(np.abs(points[8:20]), 1)
    np.testing.assert_allclose(edges, np.tile([0.0, 0.75, 0.75], (12, 1)), atol=1e-12)
    np.testing.assert_allclose(np.sort(np.abs(points[20:]), 1), np.tile([0.0, 0.0, 1.0], (6, 1)), atol=1e-12)


def test_faces_keep_their_winding() -> None:
    fine = catmull_clark(8, _CUBE_FACES, np.zeros((6, 4, 2)))
    points = fine(_CUBE)
    a, b, c, d = (points[fine.faces[:, k]] for k in range(4))
    outward = (np.cross(c - a, d - b) * (a + b + c + d)).sum(1)
    first = _CUBE[_CUBE_FACES]
    sign = (np.cross(first[:, 2] - first[:, 0], first[:, 3] - first[:, 1]) * first.sum(1)).sum(1)
    assert (outward * sign[0] > 0).all()


def test_a_flat_sheet_stays_in_its_plane_and_borders_stay_borders() -> None:
    grid = np.array([[x, y, 2.0] for y in range(4) for x in range(5)], float)
    faces = np.array([[i, i + 1, i + 6, i + 5] for y in range(3) for i in range(5 * y, 5 * y + 4)])
    uv = grid[faces][:, :, :2] / 4
    fine = catmull_clark(len(grid), faces, uv)
    points = fine(grid)
    np.testing.assert_allclose(points[:, 2], 2.0)
    np.testing.assert_allclose(np.asarray(fine.matrix.sum(1)).ravel(), 1.0)
    assert points[:, :2].min() > -1e-9
    assert points[:, 0].max() <= 4 + 1e-9
    inner = (np.abs(points[:, 0] - 2) < 1.1) & (np.abs(points[:, 1] - 1.5) < 0.6)
    np.testing.assert_allclose(fine.uv[inner], points[inner, :2] / 4, atol=1e-12)


def test_unused_vertices_keep_their_place() -> None:
    fine = catmull_clark(9, _CUBE_FACES, np.zeros((6, 4, 2)))
    points = fine(np.vstack([_CUBE, [[7.0, 8.0, 9.0]]]))
    np.testing.assert_array_equal(points[8], [7.0, 8.0, 9.0])
