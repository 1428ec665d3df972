"""A slider says its amounts in the editor's unit and guesses the α that they take."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from deltafast.app.dials import Dial, measured_ends
from deltafast.delta.amounts import UNITS


def _dial(attribute: str, ends: tuple[tuple[float, float], tuple[float, float]]) -> Dial:
    return Dial(attribute, SimpleNamespace(attribute=attribute), UNITS[attribute], ends)  # type: ignore[arg-type]


def test_alpha_is_guessed_from_each_end_by_itself() -> None:
    yaw = _dial("yaw", ((-20.0, -1.0), (30.0, 2.0)))
    assert yaw.guess(0) == 0
    assert yaw.guess(15) == pytest.approx(1)
    assert yaw.guess(-10) == pytest.approx(-0.5)


def test_an_attribute_that_alpha_lowers_is_guessed_with_the_sign_turned() -> None:
    eyes = _dial("eyes-closed", ((-0.2, 1.0), (0.05, -0.5)))
    assert eyes.guess(-0.1) == pytest.approx(0.5)
    assert eyes.guess(0.05) == pytest.approx(-0.5)


def test_ratios_multiply_and_their_neutral_amount_is_one() -> None:
    light = _dial("light", ((0.5, -1.0), (2.0, 1.0)))
    assert light.neutral == 1
    assert light.guess(1) == 0
    assert light.guess(2**0.5) == pytest.approx(0.5)
    assert light.to(2, before=1.5) == 3
    assert light.by(3, before=1.5) == 2


def test_by_and_to_are_each_others_inverse() -> None:
    yaw = _dial("yaw", ((-20.0, -1.0), (30.0, 1.0)))
    assert yaw.by(yaw.to(7, before=-3.5), before=-3.5) == pytest.approx(7)


def test_what_a_slider_cannot_show_counts_as_no_change() -> None:
    yaw = _dial("yaw", ((-20.0, -1.0), (30.0, 1.0)))
    assert yaw.is_neutral(yaw.step * 0.4)
    assert not yaw.is_neutral(yaw.step)


@pytest.mark.parametrize("found", [None, {"by": [1, "x"], "alpha": [0, 1]}, {"by": [float("nan"), 1], "alpha": [0, 1]}])
def test_a_range_that_is_none_is_not_taken(found: object) -> None:
    assert measured_ends(SimpleNamespace(training={"range": found})) is None


def test_a_measured_range_is_ordered_by_the_reading() -> None:
    info = SimpleNamespace(training={"range": {"by": [0.05, -0.2], "alpha": [-0.5, 1.0]}})
    assert measured_ends(info) == ((-0.2, 1.0), (0.05, -0.5))
