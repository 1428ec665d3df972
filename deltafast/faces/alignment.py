"""FFHQ's alignment of photos: the crop that the generators were trained on, and where in the photo it lies."""

from __future__ import annotations

import functools
import math
import os
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import DeltafastError, ImageError, InvalidInputError
from deltafast.faces.cutting import cut_square, side_of
from deltafast.faces.finding import SEARCHED, FaceFinder, FoundFace
from deltafast.files import image_size, read_image

__all__ = ["AlignedFace", "Alignment", "FaceAligner", "FaceChoice", "check_choice", "shared_aligner"]

FaceChoice: TypeAlias = "Literal['largest', 'all'] | int"

# How far the corners of an aligned image's quad may lie from the image's own, in sides. Of 24 images sampled from
# MobileStyleGAN-FFHQ the farthest was off by 0.020, of 24 edited ones (yaw, pitch, smile; alpha 1) by 0.032.
_OFF_FRAME = 0.05


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where in a photo an aligned face was cut out; all of it plain data, for `paste_back` in a later process.

    - `quad`: float64 `[4, 2]`, the (x, y) of the crop's top left, bottom left, bottom right and top right corner in
      pixels of the upright photo; the corners of the photo itself are (0, 0) and `photo_size`;
    - `photo_size`: (width, height) in pixels, the EXIF orientation applied;
    - `landmarks`: float64 `[68, 2]`, and `box`: (left, top, right, bottom), in the same pixels, with (0, 0) at the
      centre of the top left one; both None for an image that was taken as it is;
    - `score`: the detector's confidence; `index`: the face's number in the photo, 0 being the largest; `doubt`: in
      words why the crop may be a wrong one, None where nothing says so.
    """

    quad: NDArray[np.float64]
    photo_size: tuple[int, int]
    landmarks: NDArray[np.float64] | None = None
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    index: int = 0
    doubt: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the alignment as plain data; `from_json` reads it back without loss."""
        return {
            "quad": self.quad.tolist(),
            "photo_size": list(self.photo_size),
            "landmarks": None if self.landmarks is None else self.landmarks.tolist(),
            "box": None if self.box is None else list(self.box),
            "score": self.score,
            "index": self.index,
            **({} if self.doubt is None else {"doubt": self.doubt}),
        }

    @staticmethod
    def from_json(values: Any) -> Alignment:
        """Return the alignment that `as_json` described. Raises `InvalidInputError` for anything else."""
        try:
            quad = np.array(values["quad"], dtype=np.float64)
            width, height = (int(v) for v in values["photo_size"])
            landmarks, box, score = values["landmarks"], values["box"], values["score"]
            points = None if landmarks is None else np.array(landmarks, dtype=np.float64)
            corners = None if box is None else tuple(float(v) for v in box)
            found = Alignment(
                quad,
                (width, height),
                points,
                corners,  # type: ignore[arg-type]
                None if score is None else float(score),
                int(values["index"]),
                None if values.get("doubt") is None else str(values["doubt"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InvalidInputError(f"no alignment as deltafast writes it: {type(error).__name__} {error}") from error
        _check(found)
        return found

    @property
    def is_whole(self) -> bool:
        """Whether the image was taken as it is, because it was aligned already."""
        return self.landmarks is None

    @staticmethod
    def of_whole(width: int, height: int) -> Alignment:
        """Return the alignment of an image that is itself an aligned face of `width` x `height` pixels."""
        quad = np.array([(0, 0), (0, height), (width, height), (width, 0)], dtype=np.float64)
        return Alignment(quad, (width, height))


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """A face cut out of a photo: `image`, uint8 `[size, size, 3]` RGB, and its `alignment`."""

    image: NDArray[np.uint8]
    alignment: Alignment


class FaceAligner:
    """Cuts faces out of photos as FFHQ's alignment does; made once, used for many photos.

    Raises `DeltafastError` that says what to install where dlib or its models are missing.
    """

    def __init__(self) -> None:
        self._finder = FaceFinder()

    def align(
        self,
        photo: NDArray[np.uint8],
        *,
        size: int = 1024,
        faces: FaceChoice = "largest",
        keep_aligned: bool = False,
        name: str = "image",
    ) -> list[AlignedFace]:
        """Return the chosen faces of `photo`, uint8 `[H, W, 3]` RGB and upright, each as `size` x `size` pixels.

        `faces`: "largest"; "all", the largest first; or the number of one of these, 0 being the largest. With
        `keep_aligned`, an image that is already aligned (`is_aligned`) is returned as it is, in its own size, as the
        only face. `name` is what errors call the photo. Raises `ImageError` when it shows no such face,
        `InvalidInputError` for other mistakes.
        """
        check_choice(faces, size)
        found = self._finder.find(photo, every=faces != "largest")
        height, width = photo.shape[:2]
        if keep_aligned and faces in ("largest", "all", 0) and _fills_frame(found, width, height):
            return [AlignedFace(photo, Alignment.of_whole(width, height))]
        return [_cut(photo, face, index, size) for index, face in self._chosen(found, faces, name)]

    def align_file(
        self,
        path: str | os.PathLike[str],
        *,
        size: int = 1024,
        faces: FaceChoice = "largest",
        keep_aligned: bool = False,
    ) -> list[AlignedFace]:
        """Return the chosen faces of the photo in a file, each as `size` x `size` pixels; arguments as `align`'s.

        Of a large JPEG only as much is decoded as the faces need (one that is kept as it is has at least 2048 pixels
        a side, if the file has). Raises `ImageError` that names the file when it
        cannot be read or shows no such face.
        """
        check_choice(faces, size)
        width, height = image_size(path)
        photo = read_image(path, at_least=SEARCHED)
        found = self._finder.find(photo, every=faces != "largest")
        if keep_aligned and faces in ("largest", "all", 0) and _fills_frame(found, *photo.shape[1::-1]):
            return [AlignedFace(photo, Alignment.of_whole(width, height))]
        chosen = self._chosen(found, faces, os.fspath(path))
        scale = np.array((width, height)) / np.array(photo.shape[1::-1])  # (x, y)
        placed = [(index, _scaled(face, scale)) for index, face in chosen]
        wanted = max(min(1.0, 2 * size / side_of(_quad(face))) for _, face in placed)  # of the full size
        if photo.shape[1] < wanted * width:
            photo = read_image(path, at_least=math.ceil(wanted * max(width, height)))
        return [_cut(photo, face, index, size, (width, height)) for index, face in placed]

    def is_aligned(self, image: NDArray[np.uint8]) -> bool | None:
        """Whether `image`, uint8 `[H, W, 3]`, is already a crop like FFHQ's; None where it shows no face.

        It is when it is square and the corners of the crop that the alignment would cut lie within 5 % of the side
        from its own.
        """
        found = self._finder.find(image, every=False)
        return _fills_frame(found, image.shape[1], image.shape[0]) if found else None

    @staticmethod
    def _chosen(found: list[FoundFace], faces: FaceChoice, name: str) -> list[tuple[int, FoundFace]]:
        if not found:
            raise ImageError(name, "no face was found; one whose eyes and mouth can be seen is needed")
        numbered = list(enumerate(found))
        if faces == "all":
            return numbered
        number = 0 if faces == "largest" else int(faces)
        if number >= len(found):
            raise ImageError(name, f"face {number} was asked for, but {len(found)} found; they are counted from 0")
        return [numbered[number]]


@functools.lru_cache(maxsize=1)
def shared_aligner() -> FaceAligner:
    """Return the process's own aligner, made with the first call.

    Raises `DeltafastError` that says what to install where dlib is missing, and what can be done without it.
    """
    try:
        return FaceAligner()
    except DeltafastError as error:
        advice = "images that are aligned as FFHQ's are can do without: align=False, or --align never"
        raise DeltafastError(f"{error}; {advice}") from error


def check_choice(faces: Any, size: Any = 1024) -> None:
    """Raise `InvalidInputError` unless `faces` is "largest", "all" or a number from 0, and `size` is 16..8192."""
    if faces not in ("largest", "all") and (not isinstance(faces, int) or isinstance(faces, bool) or faces < 0):
        raise InvalidInputError(f'faces must be "largest", "all" or the number of a face from 0 on, got {faces!r}')
    if not isinstance(size, int) or isinstance(size, bool) or not 16 <= size <= 8192:
        raise InvalidInputError(f"the size of an aligned face must be 16 to 8192 pixels, got {size!r}")


def _fills_frame(found: list[FoundFace], width: int, height: int) -> bool:
    """Whether the largest face found lies in an image of `width` x `height` pixels as alignment would put it."""
    if not found or width != height:
        return False
    off = np.hypot(*(_quad(found[0]) - Alignment.of_whole(width, height).quad).T)  # [4]
    return bool(off.max() <= _OFF_FRAME * width)


def _quad(face: FoundFace) -> NDArray[np.float64]:
    return face.quad + 0.5  # from pixels' centres to their edges


def _scaled(face: FoundFace, scale: NDArray[np.float64]) -> FoundFace:
    box = (np.array(face.box).reshape(2, 2) + 0.5) * scale - 0.5
    left, top, right, bottom = (float(v) for v in box.reshape(-1))
    landmarks = (face.landmarks + 0.5) * scale - 0.5
    points = None if face.points is None else (face.points + 0.5) * scale - 0.5
    return replace(face, landmarks=landmarks, box=(left, top, right, bottom), points=points)


def _cut(
    photo: NDArray[np.uint8], face: FoundFace, index: int, size: int, photo_size: tuple[int, int] | None = None
) -> AlignedFace:
    """Cut `face` out; `photo` may be a reduced form of the one of `photo_size`, in whose pixels the face is given."""
    reduced = np.array(photo.shape[1::-1])
    full = reduced if photo_size is None else np.array(photo_size)
    quad = _quad(face)
    image = cut_square(photo, quad * (reduced / full), size)
    size_of_photo = (int(full[0]), int(full[1]))
    alignment = Alignment(quad, size_of_photo, face.landmarks, face.box, face.score, index, face.doubt)
    return AlignedFace(image, alignment)


def _check(alignment: Alignment) -> None:
    quad, (width, height) = alignment.quad, alignment.photo_size
    if quad.shape != (4, 2) or not np.isfinite(quad).all() or not side_of(quad) > 0 or min(width, height) < 1:
        raise InvalidInputError("no alignment as deltafast writes it: quad must be 4 corners (x, y) of a square")
    points = alignment.landmarks
    if points is not None and (points.shape != (68, 2) or not np.isfinite(points).all()):
        raise InvalidInputError("no alignment as deltafast writes it: landmarks must be 68 points (x, y)")
    if alignment.box is not None and (len(alignment.box) != 4 or not np.isfinite(alignment.box).all()):
        raise InvalidInputError("no alignment as deltafast writes it: box must be left, top, right and bottom")
