"""The square that FFHQ's alignment cuts, by numbers computed by hand, and however the face is turned."""

from __future__ import annotations

import numpy as np
import pytest

from deltafast.faces.framing import ffhq_quad, ffhq_square, quad_of_square


def _points(*rows: tuple[float, float]) -> list[np.ndarray]:
    return [np.array(row, dtype=np.float64) for row in rows]


@pytest.mark.parametrize(("mouth", "side"), [(2.0, 8.0), (3.0, 10.8), (0.5, 8.0)])
def test_the_side_is_the_larger_of_four_eye_distances_and_3_6_to_the_mouth(mouth: float, side: float) -> None:
    left, right, lips = _points((9, 5), (11, 5), (10, 5 + mouth))
    centre, half = ffhq_square((left, right), lips)
    assert centre == pytest.approx([10, 5 + 0.1 * mouth])
    assert half == pytest.approx([side / 2, 0])


def test_corners_go_round_from_the_top_left() -> None:
    quad = quad_of_square(*_points((10, 20), (3, 0)))
    assert quad.tolist() == [[7, 17], [7, 23], [13, 23], [13, 17]]


@pytest.mark.parametrize("angle", [0.0, 30.0, -75.0, 180.0])
def test_the_square_turns_shifts_and_grows_with_the_face(angle: float) -> None:
    random = np.random.default_rng(3)
    landmarks = random.random((68, 2)) * 100
    turn = np.deg2rad(angle)
    matrix = 1.7 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    expected = ffhq_quad(landmarks) @ matrix.T + (4, -9)
    np.testing.assert_allclose(ffhq_quad(landmarks @ matrix.T + (4, -9)), expected, atol=1e-9)


def test_of_the_landmarks_only_eyes_and_mouth_corners_count() -> None:
    landmarks = np.random.default_rng(0).random((68, 2))
    quad = ffhq_quad(landmarks)
    for index in range(68):
        moved = landmarks.copy()
        moved[index] += 0.5
        assert bool((ffhq_quad(moved) != quad).any()) is (36 <= index < 48 or index in (48, 54))
