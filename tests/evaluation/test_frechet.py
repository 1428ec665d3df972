"""The Fréchet distance of known distributions, and what few samples do to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from deltafast.errors import InvalidInputError
from deltafast.evaluation.feature_networks import load_feature_network
from deltafast.evaluation.frechet import frechet_distance, frechet_estimate
from deltafast.evaluation.inception import InceptionV3Features
from deltafast.evaluation.realism import unedited_halves


def gaussian(n: int, features: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Independent normals `[n, features]`."""
    return scale * np.random.default_rng(seed).normal(size=(n, features))


@pytest.mark.parametrize(("n", "features"), [(50, 8), (8, 50), (2, 3)])
def test_two_equal_sets_are_at_distance_zero(n: int, features: int) -> None:
    one = gaussian(n, features)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9 * n * features)
    assert frechet_distance(one, one[::-1]) == pytest.approx(0, abs=1e-9 * n * features)


@pytest.mark.parametrize(("n", "features"), [(60, 8), (8, 60)])
def test_a_pure_translation_is_its_own_squared_length(n: int, features: int) -> None:
    shift = np.zeros(features)
    shift[:2] = 3, 4
    assert frechet_distance(gaussian(n, features), gaussian(n, features) + shift) == pytest.approx(25)


def test_a_set_twice_as_wide_is_at_the_variance() -> None:
    # C2 = 4 C1: tr(C1 + 4 C1 - 2 * 2 C1) = tr C1
    one = gaussian(40, 5)
    assert frechet_distance(one, 2 * one - one.mean(axis=0)) == pytest.approx(np.trace(np.cov(one.T)))


@pytest.mark.parametrize("n", [6, 30])
def test_the_factored_form_is_the_textbook_one(n: int) -> None:
    one, two = gaussian(n, 10), gaussian(n + 3, 10, 1) @ np.diag(np.linspace(0.5, 2, 10)) + 0.3
    root = np.real(sqrtm(np.cov(one.T) @ np.cov(two.T)))
    expected = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(np.cov(one.T) + np.cov(two.T) - 2 * root)
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-4)


def test_the_extrapolated_distance_of_few_samples_is_nearer_to_the_truth() -> None:
    truth = 20 * 0.5**2  # a shift of 0.5 in each of 20 features
    errors = []
    for seed in range(5):
        found = frechet_estimate(gaussian(120, 20, 2 * seed), gaussian(120, 20, 2 * seed + 1) + 0.5, resamples=20)
        assert found.distance > truth  # always too large
        errors.append((abs(found.distance - truth), abs(found.extrapolated - truth)))
    plain, extrapolated = np.mean(errors, axis=0)
    assert extrapolated < plain / 2


def test_the_interval_is_paired_and_leaves_out_what_was_not_read() -> None:
    base = gaussian(40, 6)
    shifted = base + np.array([1, 0, 0, 0, 0, 0])
    found = frechet_estimate(base, shifted)
    assert found.low == pytest.approx(1)  # the same shift for every face: no draw changes it
    assert found.high == pytest.approx(1)
    shifted[3] = np.nan
    assert frechet_estimate(base, shifted).n == 39
    assert frechet_estimate(base[:1], shifted[:1]).as_json()["distance"] is None
    assert np.isnan(frechet_estimate(base[:8], base[:8]).extrapolated)


def test_a_bootstrap_draw_is_the_distance_of_the_faces_drawn() -> None:
    one, two = gaussian(12, 5), gaussian(12, 5, 1) + 0.4
    found = frechet_estimate(one, two, resamples=3, seed=4)
    rng = np.random.default_rng(4)
    drawn = [rng.integers(0, 12, 12) for _ in range(3)]
    np.testing.assert_allclose(found.draws, [frechet_distance(one[rows], two[rows]) for rows in drawn])
    assert unedited_halves(one)["n"] == 6


def test_wrong_sets_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least two rows"):
        frechet_distance(gaussian(1, 3), gaussian(5, 3))
    with pytest.raises(InvalidInputError, match=r"\[5, 3\] and \[5, 4\]"):
        frechet_distance(gaussian(5, 3), gaussian(5, 4))


def test_inception_has_the_published_size_and_reads_a_state_dict(tmp_path: Path) -> None:
    model = InceptionV3Features(fid=True)
    assert sum(p.numel() for p in model.parameters()) == 21_785_568  # 23,834,568 less the classifier's 2,049,000
    state = {**model.state_dict(), "fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save(state, tmp_path / "fid.pth")
    network = load_feature_network(tmp_path / "fid.pth")
    assert network.is_fid
    assert "FID" in network.name
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    features = network.extract(image)
    assert features.shape == (2048,)
    assert np.isfinite(features).all()
    (tmp_path / "fid.pth").unlink()
    torch.save({"fc.bias": torch.zeros(1008)}, tmp_path / "wrong.pth")
    with pytest.raises(InvalidInputError, match=r"wrong.pth cannot be read as Inception-v3 weights"):
        load_feature_network(tmp_path / "wrong.pth")
