"""Squares of pictures: straight and turned, shrunk without aliasing, padded where the photo ends."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deltafast.faces.cutting import cut_square, side_of, surroundings
from deltafast.faces.framing import quad_of_square

Image = NDArray[np.uint8]


def _quad(x: float, y: float, half: float, degrees: float = 0.0) -> NDArray[np.float64]:
    turn = np.deg2rad(degrees)
    return quad_of_square(np.array([x, y]), half * np.array([np.cos(turn), np.sin(turn)]))


def _waves(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """A smooth picture, given at pixels' edges' coordinates: [..., 3]."""
    return np.stack([127 + 90 * np.sin(x / 21 + k) * np.cos(y / 17 - k) for k in range(3)], axis=-1)


def _smooth(width: int, height: int) -> Image:
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.rint(_waves(x, y)).astype(np.uint8)


@pytest.mark.parametrize("size", [64, 200, 333])
@pytest.mark.parametrize("degrees", [0.0, 17.0, -120.0])
def test_every_pixel_shows_the_place_that_the_square_says(size: int, degrees: float) -> None:
    quad = _quad(210.3, 190.8, 80.0, degrees)
    seen = cut_square(_smooth(420, 400), quad, size)
    assert seen.shape == (size, size, 3)
    assert seen.dtype == np.uint8
    u, v = np.meshgrid((np.arange(size) + 0.5) / size, (np.arange(size) + 0.5) / size)
    place = quad[0] + u[..., None] * (quad[3] - quad[0]) + v[..., None] * (quad[1] - quad[0])
    error = np.abs(seen - _waves(place[..., 0], place[..., 1]))
    assert error.max() < 4
    assert error.mean() < 0.8


def test_fine_stripes_become_grey_and_not_coarse_stripes() -> None:
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[:, ::2] = 255
    seen = cut_square(stripes, _quad(600, 600, 450, 3.0), 64)
    assert np.abs(seen.astype(int) - 127).max() <= 12


def test_a_square_well_inside_is_not_padded() -> None:
    around = surroundings(_quad(500, 400, 100), 1000, 800)
    assert around.pad == (0, 0, 0, 0)
    assert around.box == (380, 280, 620, 520)
    assert (around.invented(np.arange(3.0), np.arange(2.0)) == -np.inf).all()


def test_near_the_border_all_sides_are_padded_and_only_the_border_is_changed() -> None:
    photo = _smooth(400, 300)
    quad = _quad(330, 150, 100)  # 30 pixels beyond the right border
    around = surroundings(quad, 400, 300)
    assert around.box == (210, 30, 400, 270)
    assert around.pad == (60, 60, 60, 60)
    seen = cut_square(photo, quad, 200)
    kept = 170 - 20  # columns of the photo up to where the blur begins, a third of the padding inside
    assert np.abs(seen[:, 3:kept].astype(int) - photo[50:250, 233 : 230 + kept]).max() <= 3
    mirrored = photo[50:250, 399:369:-1].astype(int)
    assert np.abs(seen[:, 170:].astype(int) - mirrored).max() < 60
    assert np.abs(np.diff(seen.astype(int), axis=1)).max() < 20  # no seam


@pytest.mark.parametrize(("x", "y", "half"), [(-500, 40, 60), (5, 5, 400), (60, 0, 3)])
def test_squares_far_outside_larger_than_the_photo_or_tiny_give_an_image(x: float, y: float, half: float) -> None:
    seen = cut_square(_smooth(120, 80), _quad(x, y, half), 48)
    assert seen.shape == (48, 48, 3)
    assert 20 < seen.mean() < 235


def test_the_side_of_a_turned_square() -> None:
    assert side_of(_quad(3, 4, 12.5, 77)) == pytest.approx(25)
