"""Directions: the ridge finds the one that is there, brought ones are placed, lengths are set by what is measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_faces import sequences_of

from deltafast.delta.linear import LinearEditor, linear_editor
from deltafast.errors import InvalidInputError
from deltafast.evaluation.directions import calibrate, mean_change, place_direction, ridge_direction
from deltafast.evaluation.readings import FaceReader
from deltafast.generators.base import Generator
from deltafast.generators.seeds import latents_from_seeds


def test_the_ridge_finds_the_direction_of_a_linear_measure() -> None:
    rng = np.random.default_rng(0)
    codes, slope = rng.normal(size=(300, 20)), rng.normal(size=20)
    values = codes @ slope + 7
    fit = ridge_direction(codes, values)
    assert fit.r2 == pytest.approx(1, abs=1e-3)
    assert slope @ fit.direction == pytest.approx(1, abs=1e-2)  # one step raises the measure by 1
    cosine = slope @ fit.direction / np.linalg.norm(slope) / np.linalg.norm(fit.direction)
    assert cosine == pytest.approx(1, abs=1e-3)


def test_the_ridge_of_noise_predicts_nothing_and_says_so() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=60)
    values[3] = np.nan
    fit = ridge_direction(rng.normal(size=(60, 40)), values)
    assert fit.n == 59
    assert fit.r2 < 0.2
    with pytest.raises(InvalidInputError, match="at least four"):
        ridge_direction(rng.normal(size=(3, 40)), np.arange(3.0))


def test_the_left_out_error_is_that_of_refitting() -> None:
    rng = np.random.default_rng(2)
    codes, values = rng.normal(size=(12, 4)), rng.normal(size=12)
    fit = ridge_direction(codes, values)
    errors = []
    for k in range(12):
        x, y = np.delete(codes, k, axis=0), np.delete(values, k)
        # the same ridge in absolute terms, the intercept free; the full data's unit
        unit = float((np.linalg.svd(codes - codes.mean(0), compute_uv=False) ** 2).mean())
        centred = x - x.mean(0)
        slope = np.linalg.solve(centred.T @ centred + fit.strength * unit * np.eye(4), centred.T @ (y - y.mean()))
        errors.append((values[k] - y.mean() - (codes[k] - x.mean(0)) @ slope) ** 2)
    assert 1 - np.mean(errors) / values.var() == pytest.approx(fit.r2, rel=1e-6)


def test_brought_directions_of_every_shape_are_placed() -> None:
    code = torch.arange(1.0, 5.0)
    for given in (code, code[None], code[None, None]):
        placed, slots = place_direction(given, (0, 2), 3, 4)
        assert slots == (0, 2)
        torch.testing.assert_close(placed, torch.stack([code, torch.zeros(4), code]))
    own = torch.stack([torch.zeros(4), code, code])
    placed, slots = place_direction(own, (0,), 3, 4)
    assert slots == (1, 2)  # where it is not zero, whatever the editor's slots
    assert torch.equal(placed, own)
    for wrong in (torch.zeros(4), torch.ones(5), torch.ones(2, 4), torch.full((4,), float("nan"))):
        with pytest.raises(InvalidInputError, match="direction"):
            place_direction(wrong, (0,), 3, 4)


def test_calibration_reaches_the_wanted_change_and_turns_a_direction_round(
    drawn_reader: FaceReader, tiny_generator: Generator
) -> None:
    faces = latents_from_seeds(tiny_generator, range(4))
    linear = linear_editor(sequences_of(tiny_generator), "yaw", range(4))
    change = mean_change(drawn_reader, linear, faces)
    assert change != 0
    twice, factor = calibrate(drawn_reader, linear, 1.5 * change, faces)
    assert mean_change(drawn_reader, twice, faces) == pytest.approx(1.5 * change, rel=0.15)
    assert 1 < factor < 3
    against = LinearEditor("yaw", linear.values, -linear.direction, linear.slots, linear.generator)
    back, factor = calibrate(drawn_reader, against, change, faces)
    assert factor < 0
    assert mean_change(drawn_reader, back, faces) == pytest.approx(change, rel=0.15)
    nothing = LinearEditor("yaw", linear.values, torch.zeros_like(linear.direction), linear.slots, linear.generator)
    assert calibrate(drawn_reader, nothing, change, faces)[1] == 1.0
    for nowhere in (0.0, float("nan")):
        assert calibrate(drawn_reader, linear, nowhere, faces)[1] == 1.0
