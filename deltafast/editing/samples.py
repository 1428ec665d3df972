"""What is edited, read as latents: latents in any form, or photos, whose faces are aligned and projected."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltafast.arguments import check_floating, tensor_of_array
from deltafast.editing.options import EditOptions
from deltafast.errors import InvalidInputError
from deltafast.faces.photos import Photo, PhotoReader, is_picture
from deltafast.files import sha256_file
from deltafast.generators.base import Generator
from deltafast.projection import (
    CARRIED_SIZE,
    PHOTO_SIZE,
    Encoder,
    FitReport,
    ProjectionSettings,
    Projector,
    RefineConfig,
    TunedFace,
    is_tuned_file,
    load_encoder,
    load_face,
    shows_mesh,
)

__all__ = ["FaceSource", "Samples", "Source", "chunked", "w_plus", "with_default_likeness"]


@dataclass(frozen=True)
class Samples:
    """Some samples: latents `ws` `[M, num_ws, w_dim]` on the generator's device, and the photos they come from.

    `photos` are None for latents; their faces, in order, are the samples, and have lost their images. `tuned` are the
    faces whose photo is carried, one for each sample, and `fits` how well latents fit their photos; None where not
    asked for.
    """

    ws: Tensor
    photos: list[Photo] | None = None
    tuned: list[TunedFace] | None = None
    fits: list[FitReport] | None = None


@dataclass(frozen=True)
class Source:
    """A number of inputs of which any run can be read.

    `samples` is how many they give, None where only reading tells.
    """

    count: int
    samples: int | None
    read: Callable[[int, int], Samples]
    photos: bool = True  # whether the inputs are such, or latents

    def __len__(self) -> int:
        return self.count


def chunked(source: Source, size: int) -> Iterator[Samples]:
    """Yield the samples of `source`, those of `size` inputs at a time."""
    for start in range(0, len(source), size):
        yield source.read(start, min(start + size, len(source)))


class FaceSource:
    """Turns whatever may be edited into samples, with one reader of photos and one projector for all of them."""

    def __init__(self, generator: Generator, options: EditOptions) -> None:
        self._generator = generator
        self._options = options
        self._projectors: dict[int, Projector] = {}  # by steps of refinement
        most = CARRIED_SIZE if options.likeness in ("tuned", "auto") else PHOTO_SIZE
        size = min(most, generator.img_resolution)
        self._reader = PhotoReader(options.align, options.face, size, keep_photo=bool(options.paste_back))

    def read(self, given: Any, first: int = 0) -> Source:
        """Return what was given as samples; photos are read, aligned and projected as they are asked for.

        `first` is the number of the first image, by which errors name it. Raises `InvalidInputError` for what is
        neither latents nor images.
        """
        generator = self._generator
        if isinstance(given, np.ndarray) and np.issubdtype(given.dtype, np.floating) and given.shape[-1:] != (3,):
            given = tensor_of_array(given, "latents")
        if isinstance(given, Tensor) and not (given.ndim == 4 and given.shape[1] == 3):
            if self._options.paste_back:
                raise InvalidInputError("paste_back puts faces back into photos; latents come without one")
            ws = w_plus(generator, given)
            return Source(len(ws), len(ws), lambda start, end: Samples(ws[start:end].to(generator.device)), False)
        if _is_face(given):
            given = [given]
        if isinstance(given, (list, tuple)) and given and all(_is_face(one) for one in given):
            if self._options.paste_back:
                raise InvalidInputError("paste_back puts faces back into photos; a tuned face comes without one")
            faces = list(given)
            return Source(len(faces), len(faces), lambda start, end: self._tuned(faces[start:end]), False)
        if isinstance(given, Tensor) or (isinstance(given, np.ndarray) and given.ndim == 4):
            given = list(given)
        elif is_picture(given):
            given = [given]
        if not isinstance(given, (list, tuple)):
            raise InvalidInputError(
                f"expected latents [N, {generator.num_ws}, {generator.w_dim}] or [N, {generator.w_dim}], or images "
                f"(paths, PIL images, arrays [H, W, 3], tensors [N, 3, H, W]); got {type(given).__name__}"
            )
        pictures = list(given)
        for picture in pictures:
            if not is_picture(picture):
                shape = f" {list(picture.shape)}" if hasattr(picture, "shape") else ""
                raise InvalidInputError(
                    f"a list must hold paths, PIL images, arrays [H, W, 3] or tensors [3, H, W], got "
                    f"{type(picture).__name__}{shape}; stack latents into one tensor with torch.stack"
                )
        if len(pictures) > 1 or self._options.face == "all":
            self._refuse_auto()
        samples = None if self._options.face == "all" else len(pictures)
        return Source(len(pictures), samples, lambda start, end: self._project(pictures[start:end], first + start))

    def grouped(self, singles: Iterator[Any], size: int) -> Iterator[Samples]:
        """Yield the samples of an iterator, those of `size` items at a time; reads no further than it must."""
        group: list[Samples] = []
        for number, single in enumerate(singles):
            if number == 1:
                self._refuse_auto()
            group.append(self._single(single, number))
            if len(group) == size:
                yield _together(group)
                group = []
        if group:
            yield _together(group)

    def _single(self, item: Any, number: int) -> Samples:
        """What one item of an iterator gives."""
        shapes = ((self._generator.w_dim,), (self._generator.num_ws, self._generator.w_dim))
        if isinstance(item, np.ndarray) and np.issubdtype(item.dtype, np.floating) and tuple(item.shape) in shapes:
            item = tensor_of_array(item, "latents")
        if isinstance(item, Tensor) and item.is_floating_point() and tuple(item.shape) in shapes:
            item = item[None]
        source = self.read([item] if is_picture(item) and not _is_face(item) else item, number)
        if len(source) != 1:
            raise InvalidInputError(f"an iterator gives one sample at a time; got one item with {len(source)} of them")
        return source.read(0, 1)

    def _refuse_auto(self) -> None:
        if self._options.likeness == "auto":
            raise InvalidInputError('likeness "auto" is for one face of one photo; say "quick", "refined" or "tuned"')

    def _encoder(self) -> Encoder | None:
        given = self._options.encoder
        return given if given is None or isinstance(given, Encoder) else load_encoder(given)

    def _tuned(self, given: list[Any]) -> Samples:
        """Read tuned faces, given as such or as their files."""
        faces = [one if isinstance(one, TunedFace) else load_face(one) for one in given]
        rows = torch.cat([w_plus(self._generator, face.ws) for face in faces])
        return Samples(rows.to(self._generator.device), None, faces)

    def _project(self, pictures: list[Any], first: int) -> Samples:
        """Read pictures and project their faces."""
        photos, rows = [], []
        tuned: list[TunedFace] = []
        fits: list[FitReport] = []
        for number, picture in enumerate(pictures, first):
            photo = self._reader.read(picture, f"image {number}")
            likeness = self._likeness(photo)
            projector = self._projector(0 if likeness == "quick" else self._options.steps)
            ws = projector.project(face.image for face in photo.faces)  # [F, L, C]
            rows.append(ws)
            if likeness in ("refined", "tuned"):
                fits += projector.fits((face.image for face in photo.faces), ws)
            if likeness == "tuned":
                source = sha256_file(picture) if isinstance(picture, (str, os.PathLike)) else ""
                for face, w in zip(photo.faces, ws, strict=True):
                    tuned.append(TunedFace.of(self._generator, w[None], face.pixels, source))
            places = [replace(face, crop=face.crop[:0]) for face in photo.faces]
            photos.append(replace(photo, faces=places))
        return Samples(torch.cat(rows), photos, tuned or None, fits or None)

    def _likeness(self, photo: Photo) -> str | None:
        """What is asked for; of "auto", the one that goes with the photo."""
        asked = self._options.likeness
        if asked != "auto":
            return asked
        return "tuned" if all(shows_mesh(face.image[None]) for face in photo.faces) else "quick"

    def _projector(self, steps: int) -> Projector:
        if steps not in self._projectors:
            settings = ProjectionSettings(RefineConfig(steps=steps))
            self._projectors[steps] = Projector(self._generator, self._encoder(), settings)
        return self._projectors[steps]


def with_default_likeness(options: EditOptions, generator: Any, given: Any) -> EditOptions:
    """Return options in which a single photo, where no likeness and no steps are asked for, is tuned if that can be.

    A single photo is a path, a PIL image or an array `[H, W, 3]` by itself, of whose faces one is edited.
    """
    asked = options.likeness is not None or options.refine_steps is not None
    if asked or options.face == "all" or options.synthesise is False or getattr(generator, "img_channels", 0) != 3:
        return options
    if isinstance(given, np.ndarray):
        single = given.ndim == 3 and given.shape[2] == 3
    else:
        single = not isinstance(given, Tensor) and is_picture(given) and not _is_face(given)
    return replace(options, likeness="auto") if single else options


def _is_face(given: Any) -> bool:
    return isinstance(given, TunedFace) or (isinstance(given, (str, os.PathLike)) and is_tuned_file(given))


def _together(group: list[Samples]) -> Samples:
    if len({one.photos is None for one in group}) > 1:
        raise InvalidInputError("an iterator gives either latents or photos, not both")
    if len({one.tuned is None for one in group}) > 1:
        raise InvalidInputError("an iterator gives either latents or tuned faces, not both")
    photos = None if group[0].photos is None else [photo for one in group for photo in one.photos or []]
    tuned = None if group[0].tuned is None else [face for one in group for face in one.tuned or []]
    fits = None if group[0].fits is None else [fit for one in group for fit in one.fits or []]
    return Samples(torch.cat([one.ws for one in group]), photos, tuned, fits)


def w_plus(generator: Generator, given: Tensor) -> Tensor:
    """Return latents `[N, num_ws, w_dim]` or `[N, w_dim]` as `[N, num_ws, w_dim]`, float32 or float64.

    Raises `InvalidInputError` for other shapes, for one that may be either, and for NaN.
    """
    shape = (generator.num_ws, generator.w_dim)
    check_floating(given, "latents")
    ws = given.detach()
    if tuple(ws.shape) == shape and shape[0] > 1:
        raise InvalidInputError(
            f"latents of shape {list(shape)} may be one W+ latent or {shape[0]} W codes: give latents[None] for one W+ "
            f"latent, latents[:, None].expand(-1, {shape[0]}, -1) for W codes"
        )
    if ws.ndim == 2 and ws.shape[1] == shape[1]:
        ws = ws[:, None].expand(-1, shape[0], -1)
    if ws.ndim != 3 or tuple(ws.shape[1:]) != shape:
        raise InvalidInputError(
            f"latents must be [N, {shape[0]}, {shape[1]}] (W+) or [N, {shape[1]}] (W) for {generator.name}, got "
            f"{list(given.shape)}"
        )
    if not bool(torch.isfinite(given).all()):
        finite = torch.isfinite(given).flatten(1).all(1)
        raise InvalidInputError(f"latents hold NaN or infinity, first in sample {int((~finite).nonzero()[0])}")
    return ws.to(torch.promote_types(ws.dtype, torch.float32))
