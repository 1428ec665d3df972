"""The one way from a picture, in whatever form it comes, to the aligned faces in it."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.arguments import check_floating, tensor_of_array
from deltafast.errors import ImageError, InvalidInputError
from deltafast.faces.alignment import AlignedFace, Alignment, FaceChoice, check_choice, shared_aligner
from deltafast.files import colour_profile, image_pixels, is_animation, read_image
from deltafast.pixels import to_arrays, to_floats

__all__ = ["Photo", "PhotoFace", "PhotoReader", "is_picture"]

_SMALLEST = 32  # pixels; the smallest image that is taken for an aligned face
_BEYOND = 2.0  # generators' images exceed [-1, 1] by less than this
_log = logging.getLogger("deltafast")

AlignChoice = bool | Literal["auto"]


@dataclass(frozen=True, eq=False)
class PhotoFace:
    """A face, and where in the photo it lies.

    `crop` is the aligned image as it was read: uint8 `[S, S, 3]`, or, of a floating-point picture that was taken as it
    is, an fp32 tensor `[3, S, S]` in [-1, 1].
    """

    crop: NDArray[np.uint8] | Tensor
    alignment: Alignment

    @property
    def image(self) -> Tensor:
        """The face as networks take it, fp32 `[3, S, S]` in [-1, 1]."""
        return to_floats(self.crop) if isinstance(self.crop, np.ndarray) else self.crop

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The face as files have it, uint8 `[S, S, 3]`."""
        return self.crop if isinstance(self.crop, np.ndarray) else to_arrays(self.crop)


@dataclass(frozen=True, eq=False)
class Photo:
    """The chosen `faces` of one picture, at least one.

    `pixels`, uint8 `[H, W, 3]`, upright, are those of the whole photo and `profile` its ICC profile, where the reader
    was told to keep the photo; both None otherwise (`profile` also where there is none).
    """

    name: str
    faces: list[PhotoFace]
    pixels: NDArray[np.uint8] | None = None
    profile: bytes | None = None


def is_picture(given: Any) -> bool:
    """Whether `given` is one picture, of whatever kind and content: a path, a PIL image, an array or a tensor."""
    if isinstance(given, Tensor):
        return given.ndim == 3 and given.shape[0] == 3
    if isinstance(given, np.ndarray):
        return given.ndim == 3 or given.dtype == np.uint8
    return isinstance(given, (str, os.PathLike)) or hasattr(given, "convert")


class PhotoReader:
    """Reads the faces of photos as aligned images.

    - `align`: "auto" finds the face in every photo and cuts it out as FFHQ's are; only a square image whose face lies
      where alignment would put it is taken as it is, in its own size. True aligns that one too. False takes all
      images as they are, which must then be aligned (square), and does without dlib.
    - `faces`: "largest", "all" (the largest first), or the number of one, 0 being the largest.
    - `size`: pixels of a side of the faces that are cut out.
    - `keep_photo`: also keep the whole photo, into which an edited face can be put back.

    Raises `InvalidInputError` for other choices, and at the first photo `DeltafastError` that says what to install
    where dlib is missing.
    """

    def __init__(
        self,
        align: AlignChoice = "auto",
        faces: FaceChoice = "largest",
        size: int = 512,
        *,
        keep_photo: bool = False,
    ) -> None:
        if not (isinstance(align, bool) or align == "auto"):
            raise InvalidInputError(f'align must be True, False or "auto", got {align!r}')
        self._size = max(16, size)
        check_choice(faces, self._size)
        self._align = align
        self._faces = faces
        self._keep_photo = keep_photo

    def read(self, picture: Any, name: str = "image") -> Photo:
        """Read a path, a PIL image, an array `[H, W, 3]` or a tensor `[3, H, W]`; uint8, or floating in [-1, 1].

        Errors call the picture by its path, or by `name`. Raises `ImageError` when it cannot be read or shows no such
        face, `InvalidInputError` for what is no picture.
        """
        path = os.fspath(picture) if isinstance(picture, (str, os.PathLike)) else None
        name = name if path is None else path
        if path is not None and is_animation(path):
            _log.warning("%s is an animation: its first frame is taken", path)
        if path is not None and self._align is not False and not self._keep_photo:
            # of a large JPEG only as much is decoded as the faces need
            found = shared_aligner().align_file(path, size=self._size, faces=self._faces, keep_aligned=self._keeps)
            return Photo(name, [PhotoFace(face.image, face.alignment) for face in found])
        whole = _decoded(name, picture)
        pixels = whole if isinstance(whole, np.ndarray) else to_arrays(whole)
        faces = self._faces_in(whole, pixels, name)
        if not self._keep_photo:
            return Photo(name, faces)
        return Photo(name, faces, pixels, None if path is None else colour_profile(path))

    @property
    def _keeps(self) -> bool:
        return self._align == "auto"

    def _faces_in(self, whole: NDArray[np.uint8] | Tensor, pixels: NDArray[np.uint8], name: str) -> list[PhotoFace]:
        if self._align is False:
            height, width = pixels.shape[:2]
            if height != width or height < _SMALLEST:
                raise ImageError(
                    name,
                    f"an aligned face is square and at least {_SMALLEST} pixels wide; this image is {width} x "
                    f"{height}. "
                    'With align="auto" or True (--align auto, always) the face in it is found and aligned',
                )
            return [PhotoFace(whole, Alignment.of_whole(width, height))]
        found: list[AlignedFace] = shared_aligner().align(
            pixels, size=self._size, faces=self._faces, keep_aligned=self._keeps, name=name
        )
        return [
            # a floating-point image that is taken as it is keeps what 8 bits would lose
            PhotoFace(whole if face.alignment.is_whole else face.image, face.alignment)
            for face in found
        ]


def _decoded(name: str, picture: Any) -> NDArray[np.uint8] | Tensor:
    """A picture as uint8 `[H, W, 3]`, or, where it is floating point, as an fp32 tensor `[3, H, W]` in [-1, 1]."""
    if isinstance(picture, (str, os.PathLike)):
        return read_image(picture)
    if hasattr(picture, "convert"):
        return image_pixels(picture, name)
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise InvalidInputError(f"an image array must be [H, W, 3], {name} is uint8 {list(picture.shape)}")
        return picture
    if isinstance(picture, np.ndarray):
        tensor = tensor_of_array(picture, name).permute(2, 0, 1)
    else:
        tensor = picture.detach()
    if tensor.dtype == torch.uint8:
        return to_arrays(tensor)
    check_floating(tensor, f"{name}, unless uint8,")
    tensor = tensor.float()
    if not bool(torch.isfinite(tensor).all()):
        raise InvalidInputError(f"images must not hold NaN or infinity, as {name} does")
    low, high = (float(v) for v in tensor.aminmax())
    if max(-low, high) > _BEYOND or 0 <= low < high <= 1:
        scale = "image * 2 - 1" if high <= 1 else "image / 127.5 - 1"
        raise InvalidInputError(
            f"floating-point images are in [-1, 1], the values of {name} in [{low:.3g}, {high:.3g}]: give {scale}, "
            "or uint8"
        )
    return tensor
