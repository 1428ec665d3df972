"""Colours are matched along the rim alone: no jump there, an edit's light within, nothing where nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deltafast.faces.colour_match import MATCHED, rim_correction

Array = NDArray[np.float64]


def _disc(radius: float, soft: float = 0.15) -> Array:
    x, y = np.meshgrid(*[(np.arange(MATCHED) + 0.5) / MATCHED - 0.5] * 2)
    return np.asarray(np.clip((radius + soft / 2 - np.hypot(x, y)) / soft, 0, 1))


def _ring(share: Array) -> NDArray[np.bool_]:
    return np.asarray((share > 0.3) & (share < 0.7))


def test_a_cast_of_colour_is_gone_at_the_rim_and_stays_in_the_middle() -> None:
    share = _disc(0.35)
    change = np.broadcast_to(np.array([18.0, -10.0, 4.0]), (MATCHED, MATCHED, 3))
    left = change + rim_correction(change, share)
    assert np.abs(left[_ring(share)]).max() < 0.35 * 18
    middle = left[MATCHED // 2, MATCHED // 2]
    assert np.allclose(middle, change[0, 0], atol=0.25 * 18)
    assert abs(middle[0]) > 0.75 * 18


def test_light_from_the_side_stays_in_the_face() -> None:
    share = _disc(0.35)
    x = (np.arange(MATCHED) + 0.5) / MATCHED - 0.5
    change = np.repeat(np.broadcast_to(60 * x, (MATCHED, MATCHED))[..., None], 3, axis=-1)
    left = change + rim_correction(change, share)
    row = left[MATCHED // 2, :, 0]
    before = change[MATCHED // 2, :, 0]
    within = np.abs(x) < 0.2
    assert np.polyfit(x[within], row[within], 1)[0] > 0.7 * np.polyfit(x[within], before[within], 1)[0]
    assert np.abs(left[_ring(share)]).mean() < 0.5 * np.abs(change[_ring(share)]).mean()


def test_what_is_something_else_says_little_of_colour() -> None:
    share = _disc(0.35)
    change = np.full((MATCHED, MATCHED, 3), 8.0)
    change[: MATCHED // 2] = 140.0  # a wall where the photo has hair
    found = rim_correction(change, share)
    lower = found[3 * MATCHED // 4 :][_ring(share)[3 * MATCHED // 4 :]]
    assert np.abs(lower + 8).max() < 6
    upper = found[: MATCHED // 4][_ring(share)[: MATCHED // 4]]
    assert np.abs(upper).max() < 40


def test_a_background_takes_the_photos_colours_however_far_and_the_head_before_it_does_not() -> None:
    share, head = _disc(0.4, 0.06), _disc(0.25, 0.04)
    change = np.full((MATCHED, MATCHED, 3), 70.0)
    change[head > 0.5] = 0.0
    found = rim_correction(change, share, np.stack([head, head]))
    behind = (share > 0.99) & (head < 0.01)
    assert np.abs(found[behind] + 70).mean() < 15
    assert np.abs(found[head > 0.99]).mean() < 8


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_what_nobody_sees_is_left_as_it_is(noise: float) -> None:
    change = np.random.default_rng(0).normal(0, noise, (MATCHED, MATCHED, 3)) if noise else np.zeros((64, 64, 3))
    assert not rim_correction(change, _disc(0.35)).any()


def test_places_far_from_what_was_changed_stay() -> None:
    share = np.ones((MATCHED, MATCHED))
    share[:, :8] = share[:, -8:] = 0
    change = np.zeros((MATCHED, MATCHED, 3))
    change[:, :20] = 15.0
    found = rim_correction(change, share)
    assert np.abs(found[:, 8]).max() > 3
    assert not found[:, 23:].any()
