"""Distances of faces: zero for equal ones, known numbers for others."""

from __future__ import annotations

import numpy as np
import pytest

from deltafast.faces.comparison import identity_cosine, identity_distance, inter_ocular, landmark_error

LANDMARKS = np.random.default_rng(0).uniform(100, 200, (68, 2))


def test_identical_faces_are_at_distance_zero() -> None:
    descriptor = np.random.default_rng(0).normal(size=(3, 128))
    np.testing.assert_allclose(identity_distance(descriptor, descriptor), 0)
    np.testing.assert_allclose(identity_cosine(descriptor, descriptor), 1)
    assert landmark_error(LANDMARKS, LANDMARKS) == 0


def test_known_distances() -> None:
    one, two = np.zeros(128), np.zeros(128)
    one[0], two[0], two[1] = 1, 3, 4
    assert identity_distance(one, two) == pytest.approx(np.sqrt(20))
    assert identity_cosine(one, two) == pytest.approx(0.6)
    between = np.linalg.norm(LANDMARKS[36:42].mean(axis=0) - LANDMARKS[42:48].mean(axis=0))
    assert inter_ocular(LANDMARKS) == pytest.approx(between)
    assert landmark_error(LANDMARKS, LANDMARKS + np.array([0, 0.1 * between])) == pytest.approx(0.1)
