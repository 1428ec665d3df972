"""A photo as large as it is shown keeps its face in its place."""

from __future__ import annotations

import numpy as np

from deltafast.app.whole_photo import SHOWN, WholePhoto
from deltafast.faces.alignment import Alignment


def _photo(width: int, height: int) -> WholePhoto:
    side = width / 4
    quad = np.array([(side, side), (side, 2 * side), (2 * side, 2 * side), (2 * side, side)])
    marks = np.random.default_rng(0).uniform(1.2 * side, 1.8 * side, (68, 2))
    return WholePhoto(np.full((height, width, 3), 100, np.uint8), Alignment(quad, (width, height), marks))


def test_a_reduced_photo_shows_the_edited_face_where_the_full_one_has_it() -> None:
    photo, face = _photo(2048, 1536), np.full((64, 64, 3), 250, np.uint8)
    small = photo.shown
    assert small.pixels.shape == (768, 1024, 3)
    assert small is photo.shown
    full = photo.with_face(face)[::2, ::2].astype(int)
    assert full.max() == 250
    assert np.abs(small.with_face(face).astype(int) - full).mean() < 1


def test_a_small_photo_stays_as_it_is() -> None:
    photo = _photo(SHOWN, SHOWN // 2)
    assert photo.shown is photo


def test_of_a_carried_photo_only_the_change_is_added() -> None:
    photo, face = _photo(200, 200), np.full((64, 64, 3), 250, np.uint8)
    assert np.array_equal(photo.with_face(face, face), photo.pixels)
    changed = photo.with_face(face, face - 20)
    assert changed.max() == 120
