"""Generator, editors, alphas and options, checked once; then any number of latents and photos."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.arguments import check_generator
from deltafast.delta.editor import LatentEditor
from deltafast.delta.loading import load_editor
from deltafast.delta.slots import check_slots
from deltafast.editing.alphas import Alphas, read_alphas
from deltafast.editing.options import EditOptions
from deltafast.editing.result import EditResult, joined
from deltafast.editing.samples import FaceSource, Samples, Source, chunked
from deltafast.errors import InvalidInputError
from deltafast.faces.pasting import paste_back
from deltafast.generators.base import Generator
from deltafast.pixels import as_rgb, to_arrays, to_bytes

__all__ = ["EditSession"]


class EditSession:
    """What `edit_batch` and `edit_stream` do, for many calls: the projector and its networks are set up once.

    Arguments and errors as those of `edit_batch`; `output_device` None leaves results on the generator's device.
    """

    def __init__(self, generator: Generator, editor: Any, alpha: Any, options: EditOptions | None = None) -> None:
        check_generator(generator)
        self.options = options or EditOptions()
        layers = self.options.layers
        self._slots = None if layers is None else check_slots(layers, generator.num_ws)
        self._generator = generator
        self._editors, self._alphas = _editors(generator, editor, alpha, self.options.same_w_space)
        self._source = FaceSource(generator, self.options)

    def edit(self, latents_or_images: Any) -> EditResult:
        """Edit latents or photos as `edit_batch` does."""
        source = self._source.read(latents_or_images)
        alphas = read_alphas(self._alphas, source.samples)
        chunks = list(self._run(chunked(source, self._per_chunk(alphas)), alphas))
        return joined(chunks) if chunks else self._empty(alphas)

    def stream(self, latents_or_images: Any) -> Iterator[EditResult]:
        """Edit latents or photos, or an iterator of them, as `edit_stream` does."""
        if isinstance(latents_or_images, Iterator):
            alphas = read_alphas(self._alphas, None)
            return self._run(self._source.grouped(latents_or_images, self._per_chunk(alphas)), alphas)
        source: Source = self._source.read(latents_or_images)
        alphas = read_alphas(self._alphas, source.samples)
        return self._run(chunked(source, self._per_chunk(alphas)), alphas)

    def _per_chunk(self, alphas: list[Alphas]) -> int:
        return max(1, self.options.batch_size // max(a.values.shape[1] for a in alphas))

    def _run(self, chunks: Iterator[Samples], alphas: list[Alphas]) -> Iterator[EditResult]:
        start = first_photo = 0
        for samples in chunks:
            count = len(samples.ws)
            result = self._edit(samples, [a.rows(start, count) for a in alphas], first_photo)
            start += count
            first_photo += len(samples.photos or [])
            if any(a.sweep for a in alphas):
                yield result
                continue
            images = None if result.images is None else result.images[:, 0]
            offsets = None if result.offsets is None else result.offsets[:, 0]
            photos = None if result.photos is None else [photo[0] for photo in result.photos]
            yield EditResult(
                images,
                result.latents[:, 0],
                result.sources,
                offsets,
                result.alignments,
                photos,
                result.photo_index,
                result.profiles,
            )

    @torch.no_grad()
    def _edit(self, samples: Samples, rows: list[Tensor], first_photo: int) -> EditResult:
        """Edit and synthesise M samples with `rows` of alphas, one `[M, 1 or K]` for each editor."""
        ws, options = samples.ws, self.options  # [M, L, C]
        count, sweep = len(ws), max(row.shape[1] for row in rows)
        wide = ws.repeat_interleave(sweep, 0)  # [M K, L, C]
        edited, offsets = wide, torch.zeros_like(wide) if options.raw else None
        for editor, row in zip(self._editors, rows, strict=True):
            amount = row.expand(count, sweep).reshape(-1).to(ws.device)  # [M K]
            if offsets is not None:
                offset = editor.offset(edited).to(offsets)
                if self._slots is not None:
                    mask = torch.zeros(ws.shape[1], 1, device=ws.device, dtype=offset.dtype)
                    mask[list(self._slots)] = 1
                    offset = offset * mask
                offsets = offsets + offset
            edited = editor.edit(edited, amount, raw=options.raw, slots=self._slots)
        if not bool(torch.isfinite(edited).all()):
            raise InvalidInputError("the edited latents are beyond what numbers can hold: an alpha is far too large")
        images = self._images(edited)  # [M K, C, H, W]
        device = cast("torch.device | None", options.output_device) or ws.device
        photos = samples.photos
        return EditResult(
            None if images is None else _by_sample(images, sweep),
            _by_sample(edited, sweep).to(device),
            ws.to(device),
            None if offsets is None else _by_sample(offsets, sweep).to(device),
            None if photos is None else [face.alignment for photo in photos for face in photo.faces],
            self._put_back(samples, _by_sample(images, sweep)) if options.paste_back and images is not None else None,
            None if photos is None else [first_photo + k for k, photo in enumerate(photos) for _ in photo.faces],
            None if photos is None or not options.paste_back else [photo.profile for photo in photos],
        )

    def _images(self, edited: Tensor) -> Tensor | None:
        """Synthesise latents, `batch_size` at a time."""
        options, generator = self.options, self._generator
        if not options.synthesise:
            return None
        synthesis = options.synthesise if callable(options.synthesise) else generator.synthesis
        keep_double = generator.w_avg.dtype == torch.float64
        parts = []
        for start in range(0, len(edited), options.batch_size):
            part = edited[start : start + options.batch_size]
            image = synthesis(part if keep_double else part.float(), noise_mode=options.noise_mode)
            if options.output == "uint8":
                image = to_bytes(image)
            elif image.dtype != torch.float64:
                image = image.float()
            parts.append(image if options.output_device is None else image.to(options.output_device))
        return torch.cat(parts)

    def _put_back(self, samples: Samples, images: Tensor) -> list[NDArray[np.uint8]]:
        """Paste edited faces `[M, K, C, H, W]` into the photos they come from: for each `[K, H, W, 3]`."""
        mask, feather = self.options.paste_mask or "face", self.options.feather
        rows = iter(images)
        result = []
        for photo in samples.photos or []:
            assert photo.pixels is not None
            steps = [photo.pixels] * images.shape[1]
            for face in photo.faces:
                edited = to_arrays(as_rgb(next(rows)))  # [K, S, S, 3]
                steps = [
                    paste_back(before, one, face.alignment, mask=mask, feather=feather)
                    for before, one in zip(steps, edited, strict=True)
                ]
            result.append(np.stack(steps))
        return result

    def _empty(self, alphas: list[Alphas]) -> EditResult:
        """The result of editing nothing, in the shapes and on the device that one sample's would have."""
        options, generator = self.options, self._generator
        sweep = (max(a.values.shape[1] for a in alphas),) if any(a.sweep for a in alphas) else ()
        device = cast("torch.device | None", options.output_device) or generator.w_avg.device
        latents = torch.zeros(0, *sweep, generator.num_ws, generator.w_dim, device=device)
        size = (generator.img_channels, generator.img_resolution, generator.img_resolution)
        dtype = torch.uint8 if options.output == "uint8" else torch.float32
        images = torch.zeros(0, *sweep, *size, dtype=dtype, device=device) if options.synthesise else None
        sources = torch.zeros(0, generator.num_ws, generator.w_dim, device=device)
        photos: list[NDArray[np.uint8]] | None = [] if options.paste_back else None
        return EditResult(images, latents, sources, latents.clone() if options.raw else None, None, photos)


def _editors(generator: Generator, editor: Any, alpha: Any, same_w_space: bool) -> tuple[list[LatentEditor], list[Any]]:
    """Return the editors for this generator, and one alpha as given for each."""
    several = isinstance(editor, (list, tuple))
    given = list(editor) if several else [editor]
    if not given:
        raise InvalidInputError("no editor given; pass at least one")
    if several:
        if isinstance(alpha, (str, bytes)) or not hasattr(alpha, "__len__") or getattr(alpha, "ndim", 1) == 0:
            raise InvalidInputError(f"with a sequence of {len(given)} editors, alpha is a sequence with one for each")
        if len(alpha) != len(given):
            raise InvalidInputError(f"{len(given)} editors, but {len(alpha)} alphas; give one alpha for each editor")
    loaded: list[LatentEditor] = []
    for one in given:
        if isinstance(one, (str, os.PathLike)):
            one = load_editor(one)
        if not hasattr(one, "edit") or not hasattr(one, "for_generator"):
            raise InvalidInputError(f"an editor is an Editor, a bundled name or a file; got {type(one).__name__}")
        loaded.append(cast(LatentEditor, one).for_generator(generator, same_w_space=same_w_space))
    return loaded, list(alpha) if several else [alpha]


def _by_sample(flat: Tensor, sweep: int) -> Tensor:
    return flat.reshape(-1, sweep, *flat.shape[1:])
