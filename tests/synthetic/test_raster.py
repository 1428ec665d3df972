"""The rasteriser covers exactly the pixels it should and keeps what is nearest."""

from __future__ import annotations

import numpy as np

from deltafast.synthetic.raster import depth_map, interpolate, rasterise, vertex_normals

_SQUARE = np.array([[2.0, 1.0, 3.0], [7.0, 1.0, 3.0], [7.0, 5.0, 3.0], [2.0, 5.0, 3.0]])
_TWO = np.array([[0, 2, 1], [0, 3, 2]])  # counter-clockwise with y up


def test_two_triangles_cover_a_rectangle_without_gap_or_overlap() -> None:
    hit = rasterise(_SQUARE, _TWO, 8, 10)
    covered = np.zeros(80, bool)
    covered[hit.pixel] = True
    expected = np.zeros((8, 10), bool)
    expected[1:5, 2:7] = True
    np.testing.assert_array_equal(covered.reshape(8, 10), expected)
    assert np.isinf(hit.depth[~covered]).all()


def test_attributes_are_interpolated_linearly() -> None:
    hit = rasterise(_SQUARE, _TWO, 8, 10)
    values = interpolate(_SQUARE.astype(np.float32), _TWO, hit)
    np.testing.assert_allclose(values[:, 0], hit.pixel % 10 + 0.5, atol=1e-5)
    np.testing.assert_allclose(values[:, 1], hit.pixel // 10 + 0.5, atol=1e-5)
    np.testing.assert_allclose(interpolate(_SQUARE[:, 0].astype(np.float32), _TWO, hit), values[:, 0], atol=1e-5)


def test_the_nearer_triangle_wins_whatever_the_order() -> None:
    near = _SQUARE - [0, 0, 1]
    points = np.vstack([_SQUARE, near])
    for triangles, winner in ((np.vstack([_TWO, _TWO + 4]), {2, 3}), (np.vstack([_TWO + 4, _TWO]), {0, 1})):
        hit = rasterise(points, triangles, 8, 10)
        assert set(hit.triangle.tolist()) == winner
        np.testing.assert_allclose(hit.depth[hit.pixel], 2.0, atol=1e-5)


def test_triangles_from_behind_are_left_out_unless_asked_for() -> None:
    behind = _TWO[:, ::-1]
    assert len(rasterise(_SQUARE, behind, 8, 10).pixel) == 0
    assert len(rasterise(_SQUARE, behind, 8, 10, cull=False).pixel) == 20
    assert np.isfinite(depth_map(_SQUARE, behind, 8, 10)).sum() == 20


def test_triangles_outside_the_picture_are_cut() -> None:
    hit = rasterise(_SQUARE - [4, 3, 0], _TWO, 8, 10)
    assert sorted(hit.pixel.tolist()) == [0, 1, 2, 10, 11, 12]
    assert len(rasterise(_SQUARE - [100, 0, 0], _TWO, 8, 10).pixel) == 0


def test_normals_of_a_plane_point_out_of_it() -> None:
    points = _SQUARE * [1, -1, 1]  # y up
    normals = vertex_normals(np.vstack([points, [[0, 0, 0]]]), _TWO)
    np.testing.assert_allclose(normals[:4], np.tile([0.0, 0.0, 1.0], (4, 1)))
    np.testing.assert_array_equal(normals[4], 0)
