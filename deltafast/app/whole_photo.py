"""The photo that an edited face is put back into, in full or as large as it is shown."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deltafast.faces.alignment import Alignment
from deltafast.faces.pasting import paste_back
from deltafast.faces.photos import Photo

__all__ = ["SHOWN", "WholePhoto", "reduced"]

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
        if max(self.pixels.shape) <= SHOWN:
            return self
        small = _small(self.pixels)
        return WholePhoto(small, _moved(self.alignment, self.pixels, small))


def reduced(photo: Photo) -> Photo:
    """Return a photo whose pixels are kept with at most `SHOWN` pixels a side, its faces in their places."""
    if photo.pixels is None or max(photo.pixels.shape) <= SHOWN:
        return photo
    small = _small(photo.pixels)
    faces = [replace(face, alignment=_moved(face.alignment, photo.pixels, small)) for face in photo.faces]
    return replace(photo, pixels=small, faces=faces)


def _small(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    factor = SHOWN / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0))


def _moved(place: Alignment, pixels: Pixels, small: Pixels) -> Alignment:
    """Where a face lies in the photo's `small` copy."""
    size = small.shape[1], small.shape[0]
    share = np.array([size[0] / pixels.shape[1], size[1] / pixels.shape[0]])
    marks = None if place.landmarks is None else (place.landmarks + 0.5) * share - 0.5
    return Alignment(place.quad * share, size, marks)
