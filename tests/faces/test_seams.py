"""A seam's figure: 0 where nothing was changed, larger with a cast of colour, in units that are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError
from deltafast.faces.alignment import Alignment
from deltafast.faces.pasting import paste_back
from deltafast.faces.seams import measure_seam

Pixels = NDArray[np.uint8]
_WHOLE = Alignment.of_whole(256, 256)


@pytest.fixture(scope="module")
def waves() -> Pixels:
    x, y = np.meshgrid(np.arange(256), np.arange(256))
    return np.rint(np.stack([120 + 50 * np.sin(x / 9 + k) * np.cos(y / 8) for k in range(3)], axis=-1)).astype(np.uint8)


def test_nothing_pasted_has_no_seam_and_a_harder_cast_has_more(waves: Pixels) -> None:
    none = measure_seam(waves, waves, _WHOLE, mask="crop")
    assert (none.gradient, none.colour) == (0.0, 0.0)
    found = []
    for cast in (10, 40):
        edited = np.clip(waves.astype(int) + cast, 0, 255).astype(np.uint8)
        found.append(
            measure_seam(
                waves, paste_back(waves, edited, _WHOLE, mask="crop", match_colours=False), _WHOLE, mask="crop"
            )
        )
    assert 0 < found[0].gradient < found[1].gradient
    assert 1 < found[0].colour < 0.4 * found[1].colour


def test_matching_colours_takes_a_cast_out_of_the_seam(waves: Pixels) -> None:
    edited = np.clip(waves.astype(int) + np.array([18, -6, 12]), 0, 255).astype(np.uint8)
    seams = [
        measure_seam(waves, paste_back(waves, edited, _WHOLE, mask="crop", match_colours=match), _WHOLE, mask="crop")
        for match in (False, True)
    ]
    assert seams[1].colour < 0.7 * seams[0].colour


def test_a_step_of_grey_is_told_in_delta_e() -> None:
    grey = np.full((256, 256, 3), 119, np.uint8)  # L = 50
    lighter = np.full((256, 256, 3), 144, np.uint8)  # L = 60
    assert measure_seam(grey, lighter, _WHOLE, mask="crop").colour == pytest.approx(10, abs=0.3)


def test_mistakes_are_told_in_words(waves: Pixels) -> None:
    with pytest.raises(InvalidInputError, match=r"pasted must be uint8 \[256, 256, 3\], got uint8 \[255"):
        measure_seam(waves, waves[:255], _WHOLE)
    with pytest.raises(InvalidInputError, match="no rim"):
        measure_seam(waves, waves, _WHOLE, mask="crop", feather=0.0)
