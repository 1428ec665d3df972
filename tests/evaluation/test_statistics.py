"""Intervals cover, verdicts follow them, and matched change finds the costs that were put there."""

from __future__ import annotations

import numpy as np
import pytest

from deltafast.errors import InvalidInputError
from deltafast.evaluation.statistics import (
    at_change,
    bootstrap_mean,
    bootstrap_ratio,
    compare_paired,
    monotone_share,
    slope_and_r2,
)


def test_bootstrap_intervals_cover_the_true_mean_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        interval = bootstrap_mean(rng.normal(2.0, 1.0, 40), resamples=500, seed=trial)
        covered += interval.low <= 2.0 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_bootstrap_is_deterministic_and_leaves_nan_out() -> None:
    values = np.array([1.0, np.nan, 3.0, 2.0])
    one = bootstrap_mean(values)
    assert one == bootstrap_mean(values)
    assert (one.mean, one.n) == (2.0, 3)
    assert one.low <= 2 <= one.high
    assert bootstrap_mean(np.full(3, np.nan)).as_json() == {"mean": None, "low": None, "high": None, "n": 0}
    assert bootstrap_mean(np.array([5.0])).as_json() == {"mean": 5.0, "low": None, "high": None, "n": 1}


def test_the_interval_of_a_ratio_keeps_each_face_with_itself() -> None:
    rng = np.random.default_rng(2)
    faces = rng.uniform(0.2, 2.0, 60)  # differ much more from each other than the two costs of one face do
    ratio = bootstrap_ratio(0.8 * faces + rng.normal(0, 0.005, 60), faces)
    assert ratio.mean == pytest.approx(0.8, abs=0.005)
    assert 0.79 < ratio.low < ratio.mean < ratio.high < 0.81
    unpaired = bootstrap_ratio(0.8 * rng.permutation(faces), faces)
    assert unpaired.high - unpaired.low > 10 * (ratio.high - ratio.low)
    assert bootstrap_ratio(np.array([1.0, np.nan, 3.0]), np.array([2.0, 2.0, np.nan])).n == 1
    assert np.isnan(bootstrap_ratio(np.ones(4), np.zeros(4)).mean)


def test_verdicts() -> None:
    rng = np.random.default_rng(1)
    faces = rng.normal(0.5, 0.3, 64)
    noise = rng.normal(0, 0.02, 64)
    assert compare_paired(faces - 0.1 + noise, faces)[1] == "better"
    assert compare_paired(faces + 0.1 + noise, faces)[1] == "worse"
    assert compare_paired(faces + noise - noise.mean(), faces)[1] == "equal"
    assert compare_paired(faces[:1], faces[:1] + 1)[1] == "equal"  # one face proves nothing


def test_monotone_share_counts_faces_that_only_rise() -> None:
    values = np.array([[0, 1, 2], [0, 2, 1], [3, 3, 4], [np.nan, 1, 2], [-1, 0, 5]])
    assert monotone_share(values) == pytest.approx(2 / 5)
    with pytest.raises(InvalidInputError, match="at least two alphas"):
        monotone_share(np.zeros((3, 1)))


def test_slope_and_r2_of_known_lines() -> None:
    alphas = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
    slope, r2 = slope_and_r2(alphas, np.stack([3 * alphas + 7, alphas**2, np.full(5, 4.0)]))
    np.testing.assert_allclose(slope, [3, 0, 0], atol=1e-12)
    np.testing.assert_allclose(r2, [1, 0, 1], atol=1e-12)


def test_at_change_interpolates_along_alpha() -> None:
    change, cost = np.array([0.0, 10.0, 20.0]), np.array([0.0, 0.1, 0.4])
    assert at_change(change, cost, 5) == pytest.approx(0.05)
    assert at_change(change, cost, 15) == pytest.approx(0.25)
    assert at_change(change, cost, 20) == pytest.approx(0.4)
    assert at_change(change, cost, 0) == pytest.approx(0)
    assert np.isnan(at_change(change, cost, 21))
    assert np.isnan(at_change(np.array([0.0, np.nan, 20.0]), cost, 15))
    # the first crossing counts: falling back later costs nothing
    assert at_change(np.array([0.0, 10.0, 5.0]), np.array([0.0, 0.2, 9.0]), 10) == pytest.approx(0.2)
