"""Figures are said in words that agree with them."""

from __future__ import annotations

import pytest

from deltafast.app.words import fit_words, identity_words, queue_words, reached_words
from deltafast.projection.fit import FitReport


@pytest.mark.parametrize(("distance", "words"), [(0.2, "clearly the same"), (0.5, "can pass"), (0.7, "another person")])
def test_a_reconstruction_is_called_what_its_distance_says(distance: float, words: str) -> None:
    lines = fit_words(FitReport(0.5, True, distance, 0.9, 0.02), "quick")
    assert words in lines[0]
    assert f"{distance:.2f}" in lines[0]
    assert "sit right" in lines[1]


def test_a_latent_far_away_and_landmarks_that_are_off_are_warned_of() -> None:
    lines = fit_words(FitReport(1.4, True, 0.3, 0.9, 0.08), "refined")
    assert "are off (8.0%" in lines[1]
    assert "edits may distort" in lines[2]


def test_without_dlib_nothing_is_claimed() -> None:
    assert "not compared" in fit_words(FitReport(0.5), "quick")[0]
    assert fit_words(None, "quick") == []


@pytest.mark.parametrize(("distance", "words"), [(0.2, "Clearly"), (0.5, "Still"), (0.7, "another"), (None, "No face")])
def test_an_edit_says_whether_the_person_is_still_the_same(distance: float | None, words: str) -> None:
    assert words in identity_words(distance)


def test_what_was_not_reached_is_said_with_what_was_asked() -> None:
    assert reached_words("Yaw", "degree", 1.0, 15.0, 15.2, True) == "Yaw: from 1.0° to 15.2°."
    assert "40.0° was asked" in reached_words("Yaw", "degree", 1.0, 40.0, 22.0, False)
    assert "no face" in reached_words("Yaw", "degree", float("nan"), 1.0, 1.0, False)


def test_a_queue_is_named_only_where_there_is_one() -> None:
    assert queue_words(0) == ""
    assert queue_words(1).startswith("1 person is")
    assert queue_words(3).startswith("3 people are")
