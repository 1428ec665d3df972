"""Photos as aligned faces, ready to be projected."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deltafast.errors import ImageError
from deltafast.faces.alignment import Alignment, shared_aligner
from deltafast.files import read_image

__all__ = ["PhotoReader", "read_face"]

_SMALLEST = 32  # pixels; the smallest image that is projected


class PhotoReader:
    """Reads the largest face of photos as an aligned image of `size` pixels.

    `align`: "auto" aligns unless the image is already aligned, True always, False never: the images are then taken as
    they are, and need no dlib. Raises `DeltafastError` that says what to install where dlib is missing.
    """

    def __init__(self, align: bool | Literal["auto"], size: int) -> None:
        self._size = size
        self._keep = align == "auto"
        self._aligner = None if align is False else shared_aligner()

    def read(self, path: Path) -> tuple[Tensor, Alignment | None]:
        """Return the face `[1, 3, size, size]` in [-1, 1], and where it lies; None for an image taken as it is.

        Raises `ImageError` when the file cannot be read or shows no face.
        """
        if self._aligner is None:
            return read_face(path, self._size), None
        (face,) = self._aligner.align_file(path, size=max(16, self._size), keep_aligned=self._keep)
        return _prepared(face.image, self._size), None if face.alignment.is_whole else face.alignment


def read_face(path: Path, size: int = 256) -> Tensor:
    """Read an aligned face image as `[1, 3, size, size]` float in [-1, 1]; a picture that is not square is refused.

    Raises `ImageError` when it cannot be read, is not square, or is smaller than 32 pixels.
    """
    array = read_image(path)  # [H, W, 3]
    height, width = array.shape[:2]
    if height != width or height < _SMALLEST:
        raise ImageError(
            path, f"an aligned face is square and at least {_SMALLEST} pixels wide; this image is {width} x {height}"
        )
    return _prepared(array, size)


def _prepared(array: NDArray[np.uint8], size: int) -> Tensor:
    image = torch.from_numpy(array).permute(2, 0, 1)[None].float() / 127.5 - 1  # [1, 3, H, W]
    return F.interpolate(image, (size, size), mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
