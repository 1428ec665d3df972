"""The photo that an edited face is put back into, in full or as large as it is shown."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deltafast.faces.alignment import Alignment
from deltafast.faces.pasting import paste_back

__all__ = ["SHOWN", "WholePhoto"]

Pixels = NDArray[np.uint8]

SHOWN = 1024
"""Pixels of the longer side at which a whole photo is shown."""


@dataclass(frozen=True, eq=False)
class WholePhoto:
    """A photo, uint8 `[H, W, 3]`, and where in it the face lies."""

    pixels: Pixels
    alignment: Alignment

    def with_face(self, edited: Pixels, unedited: Pixels | None = None) -> Pixels:
        """Return the photo with `edited` `[S, S, 3]` in the face's place; with `unedited`, only what differs is added.

        That is for pictures that carry the photo itself: outside of the edit the photo then keeps its very bytes.
        """
        mask = "face" if unedited is None else "crop"
        return paste_back(self.pixels, edited, self.alignment, mask=mask, unedited=unedited)  # type: ignore[arg-type]

    @functools.cached_property
    def shown(self) -> WholePhoto:
        """The photo with at most `SHOWN` pixels a side, itself where it has no more."""
        height, width = self.pixels.shape[:2]
        factor = SHOWN / max(height, width)
        if factor >= 1:
            return self
        size = max(1, round(width * factor)), max(1, round(height * factor))
        small = np.asarray(Image.fromarray(self.pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0))
        place, share = self.alignment, np.array([size[0] / width, size[1] / height])
        marks = None if place.landmarks is None else (place.landmarks + 0.5) * share - 0.5
        return WholePhoto(small, Alignment(place.quad * share, size, marks))
