"""What is edited, read as latents: latents in any form, or photos, aligned and projected."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.arguments import check_floating, tensor_of_array
from deltafast.errors import ImageError, InvalidInputError
from deltafast.faces.alignment import Alignment, check_choice, shared_aligner
from deltafast.faces.pasting import PASTE_MASKS, PasteMask
from deltafast.files import image_pixels, read_image
from deltafast.generators.base import Generator

__all__ = ["PhotoOptions", "Samples", "Source", "chunked", "grouped", "photo_options", "read_source"]

_ALIGNED_SIZE = 512  # pixels that an aligned photo is projected from, at most; encoders look at fewer
_SMALLEST = 32  # pixels; the smallest image that is projected
_BEYOND = 2.0  # generators' images exceed [-1, 1] by less than this


@dataclass(frozen=True)
class PhotoOptions:
    """How photos become latents, and whether they are needed again afterwards."""

    align: bool | Literal["auto"] = "auto"
    face: Literal["largest"] | int = "largest"
    refine_steps: int = 0
    paste_back: PasteMask | None = None


def photo_options(align: Any, face: Any, refine_steps: Any, paste_back: Any, feather: Any) -> PhotoOptions:
    """Return the options of `edit_batch` that concern photos. Raises `InvalidInputError` for what they cannot be."""
    if not (isinstance(align, bool) or align == "auto"):
        raise InvalidInputError(f'align must be True, False or "auto", got {align!r}')
    if face == "all":
        raise InvalidInputError('one face of each photo is edited: face is "largest" or a number from 0 on')
    check_choice(face)
    if not isinstance(refine_steps, int) or isinstance(refine_steps, bool) or refine_steps < 0:
        raise InvalidInputError(f"refine_steps must be a whole number from 0 on, got {refine_steps!r}")
    if not isinstance(feather, (int, float)) or not 0 <= feather <= 0.5:
        raise InvalidInputError(f"feather must be a share of the face's crop from 0 to 0.5, got {feather!r}")
    if not (isinstance(paste_back, bool) or paste_back in PASTE_MASKS):
        raise InvalidInputError(f"paste_back must be True, False, {' or '.join(PASTE_MASKS)}, got {paste_back!r}")
    return PhotoOptions(align, face, refine_steps, ("face" if paste_back is True else paste_back) or None)


@dataclass(frozen=True)
class Samples:
    """Some samples: latents `ws` `[M, num_ws, w_dim]` on the generator's device, and where they come from.

    `alignments` are None for latents; `photos`, uint8 `[H, W, 3]` each, are None unless they are needed again.
    """

    ws: Tensor
    alignments: list[Alignment] | None = None
    photos: list[NDArray[np.uint8]] | None = None


@dataclass(frozen=True)
class Source:
    """N samples of which any run can be read."""

    count: int
    read: Callable[[int, int], Samples]

    def __len__(self) -> int:
        return self.count


def chunked(source: Source, size: int) -> Iterator[Samples]:
    """Yield the samples of `source`, `size` at a time."""
    for start in range(0, len(source), size):
        yield source.read(start, min(start + size, len(source)))


def grouped(singles: Iterator[Any], generator: Generator, size: int, options: PhotoOptions) -> Iterator[Samples]:
    """Yield the samples of an iterator that gives one at a time, `size` at a time; reads no further than it must."""
    group: list[Samples] = []
    for number, single in enumerate(singles):
        group.append(_single(generator, single, options, number))
        if len(group) == size:
            yield _together(group)
            group = []
    if group:
        yield _together(group)


def _together(group: list[Samples]) -> Samples:
    if len({(one.alignments is None, one.photos is None) for one in group}) > 1:
        raise InvalidInputError("an iterator gives either latents or photos, not both")
    return Samples(
        torch.cat([one.ws for one in group]),
        None if group[0].alignments is None else [a for one in group for a in one.alignments or []],
        None if group[0].photos is None else [p for one in group for p in one.photos or []],
    )


def _single(generator: Generator, item: Any, options: PhotoOptions, number: int) -> Samples:
    """One sample of an iterator."""
    shapes = ((generator.w_dim,), (generator.num_ws, generator.w_dim))
    if isinstance(item, np.ndarray) and np.issubdtype(item.dtype, np.floating) and tuple(item.shape) in shapes:
        item = tensor_of_array(item, "latents")
    if isinstance(item, Tensor) and item.is_floating_point() and tuple(item.shape) in shapes:
        item = item[None]
    source = read_source(generator, [item] if _is_picture(item) else item, options, number)
    if len(source) != 1:
        raise InvalidInputError(f"an iterator gives one sample at a time; got one item with {len(source)} of them")
    return source.read(0, 1)


def read_source(generator: Generator, given: Any, options: PhotoOptions, first: int = 0) -> Source:
    """Return what was given to be edited as samples; images are read, aligned and projected as they are asked for.

    `first` is the number of the first image, by which errors name it. Raises `InvalidInputError` for what is neither
    latents nor images.
    """
    if isinstance(given, np.ndarray) and np.issubdtype(given.dtype, np.floating) and given.shape[-1:] != (3,):
        given = tensor_of_array(given, "latents")
    if isinstance(given, Tensor) and not (given.ndim == 4 and given.shape[1] == 3):
        if options.paste_back:
            raise InvalidInputError("paste_back puts faces back into photos; latents come without one")
        ws = _latents(generator, given)
        return Source(len(ws), lambda start, end: Samples(ws[start:end].to(generator.w_avg.device)))
    if isinstance(given, Tensor) or (isinstance(given, np.ndarray) and given.ndim == 4):
        given = list(given)
    elif _is_picture(given):
        given = [given]
    if not isinstance(given, (list, tuple)):
        raise InvalidInputError(
            f"expected latents [N, {generator.num_ws}, {generator.w_dim}] or [N, {generator.w_dim}], or images "
            f"(paths, PIL images, arrays [H, W, 3], tensors [N, 3, H, W]); got {type(given).__name__}"
        )
    pictures = list(given)
    for picture in pictures:
        if not _is_picture(picture):
            raise InvalidInputError(
                f"a list must hold paths, PIL images, arrays [H, W, 3] or tensors [3, H, W], got "
                f"{type(picture).__name__}{_shape(picture)}; stack latents into one tensor with torch.stack"
            )

    def read(start: int, end: int) -> Samples:
        return _project(generator, [(f"image {first + k}", pictures[k]) for k in range(start, end)], options)

    return Source(len(pictures), read)


def _is_picture(given: Any) -> bool:
    """Whether `given` is one image, of whatever kind and content."""
    if isinstance(given, Tensor):
        return given.ndim == 3 and given.shape[0] == 3
    if isinstance(given, np.ndarray):
        return given.ndim == 3 or given.dtype == np.uint8
    return isinstance(given, (str, os.PathLike)) or hasattr(given, "convert")


def _shape(value: Any) -> str:
    return f" {list(value.shape)}" if hasattr(value, "shape") else ""


def _latents(generator: Generator, given: Tensor) -> Tensor:
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


def _project(generator: Generator, pictures: list[tuple[str, Any]], options: PhotoOptions) -> Samples:
    """Align and project named images; those of one size together."""
    from deltafast.projection import project_faces

    images: list[Tensor] = []  # each [1, 3, H, W] float in [-1, 1]
    alignments: list[Alignment] = []
    photos: list[NDArray[np.uint8]] = []
    for name, picture in pictures:
        image, alignment, photo = _aligned(generator, name, picture, options)
        images.append(image.to(generator.w_avg.device))
        alignments.append(alignment)
        if photo is not None:
            photos.append(photo)
    if len({image.shape for image in images}) == 1:
        images = [torch.cat(images)]
    with torch.no_grad():
        ws = torch.cat([project_faces(generator, part, steps=options.refine_steps) for part in images])
    return Samples(ws, alignments, photos if options.paste_back else None)


def _aligned(
    generator: Generator, name: str, picture: Any, options: PhotoOptions
) -> tuple[Tensor, Alignment, NDArray[np.uint8] | None]:
    """One image as an aligned face `[1, 3, H, W]` float in [-1, 1], its alignment, and the photo where it is needed."""
    path = Path(picture) if isinstance(picture, (str, os.PathLike)) else None
    if path is not None:
        name = os.fspath(path)
    if options.align is False:
        floats = _floats(read_image(path) if path is not None else _given(name, picture))
        height, width = floats.shape[2:]
        if height != width or height < _SMALLEST:
            raise ImageError(
                name,
                f"an aligned face is square and at least {_SMALLEST} pixels wide; this image is {width} x {height}. "
                'With align="auto" or True the face in it is found and aligned',
            )
        return floats, Alignment.of_whole(width, height), _pixels(floats) if options.paste_back else None
    size = min(_ALIGNED_SIZE, generator.img_resolution)
    keep = options.align == "auto"
    if path is not None and not options.paste_back:
        (face,) = shared_aligner().align_file(path, size=size, faces=options.face, keep_aligned=keep)
        return _floats(face.image), face.alignment, None
    given = read_image(path) if path is not None else _given(name, picture)
    photo = given if isinstance(given, np.ndarray) else _pixels(_floats(given))
    (face,) = shared_aligner().align(photo, size=size, faces=options.face, keep_aligned=keep, name=name)
    return _floats(given if face.alignment.is_whole else face.image), face.alignment, photo


def _given(name: str, picture: Any) -> NDArray[np.uint8] | Tensor:
    """An image in memory as uint8 `[H, W, 3]`, or as a tensor `[3, H, W]`, floating point in [-1, 1]."""
    if hasattr(picture, "convert"):
        return image_pixels(picture, name)
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
        if picture.ndim != 3 or picture.shape[2] != 3:
            raise InvalidInputError(f"an image array must be [H, W, 3], {name} is uint8{_shape(picture)}")
        return picture
    if isinstance(picture, np.ndarray):
        tensor = tensor_of_array(picture, name).permute(2, 0, 1)
    else:
        tensor = picture.detach()
    if tensor.dtype == torch.uint8:
        return np.ascontiguousarray(tensor.permute(1, 2, 0).cpu().numpy())
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


def _floats(image: NDArray[np.uint8] | Tensor) -> Tensor:
    """uint8 `[H, W, 3]`, or a floating-point tensor `[3, H, W]`, as `[1, 3, H, W]` float in [-1, 1]."""
    if isinstance(image, np.ndarray):
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
    return image[None]


def _pixels(image: Tensor) -> NDArray[np.uint8]:
    """`[1, 3, H, W]` in [-1, 1] as uint8 `[H, W, 3]`."""
    scaled = (image[0] * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy())
