"""Generator, editors, alphas and options, checked once; then any number of latents and photos."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.arguments import check_generator
from deltafast.delta.editor import Editor, LatentEditor
from deltafast.delta.flow_sum import edit_together
from deltafast.delta.loading import load_editor
from deltafast.delta.slots import check_slots
from deltafast.editing.alphas import Alphas, read_alphas
from deltafast.editing.head_outlines import HeadOutlines
from deltafast.editing.options import EditOptions, Synthesise
from deltafast.editing.result import EditResult, joined
from deltafast.editing.samples import FaceSource, Samples, Source, chunked, w_plus
from deltafast.editing.steering import Reached, Steering
from deltafast.errors import InvalidInputError
from deltafast.faces.alignment import Alignment
from deltafast.faces.pasting import paste_back
from deltafast.generators.base import Generator
from deltafast.pixels import as_rgb, to_arrays, to_bytes

__all__ = ["EditSession"]


class EditSession:
    """What `edit_batch` and `edit_stream` do, for many calls: the projector and its networks are set up once.

    Arguments and errors as those of `edit_batch`; `output_device` None leaves results on the generator's device.
    """

    def __init__(
        self, generator: Generator, editor: Any, alpha: Any = None, options: EditOptions | None = None
    ) -> None:
        check_generator(generator)
        self.options = options or EditOptions()
        layers = self.options.layers
        self._slots = None if layers is None else check_slots(layers, generator.num_ws)
        self._generator = generator
        self._word, amount = _amount(alpha, self.options)
        self._editors, self._amounts = _editors(generator, editor, self._word, amount, self.options.same_w_space)
        self._parts = _together(self._editors) if self.options.order == "together" else _alone(self._editors)
        self._steering: Steering | None = None
        if self._word != "alpha":
            bounded = [isinstance(editor, Editor) for editor in self._editors]
            self._steering = Steering(self.attributes, bounded, self._word == "to", generator.w_avg.device)
        self._source = FaceSource(generator, self.options)
        self._heads: HeadOutlines | None = None

    @property
    def attributes(self) -> list[str]:
        """What the editors change, in their order."""
        return [editor.attribute for editor in self._editors]

    def latents(self, given: Tensor) -> Tensor:
        """Return latents `[N, num_ws, w_dim]` or W codes `[N, w_dim]` as `[N, num_ws, w_dim]`, checked as by `edit`."""
        return w_plus(self._generator, given)

    def edit(self, latents_or_images: Any, *, first: int = 0) -> EditResult:
        """Edit latents or photos as `edit_batch` does; warnings count the samples from `first` on."""
        source = self._source.read(latents_or_images)
        alphas = self._read(source.samples)
        chunks = list(self._run(chunked(source, self._per_chunk(alphas)), alphas, first))
        return joined(chunks) if chunks else self._empty(alphas, source.photos)

    def stream(self, latents_or_images: Any) -> Iterator[EditResult]:
        """Edit latents or photos, or an iterator of them, as `edit_stream` does."""
        if isinstance(latents_or_images, Iterator):
            alphas = self._read(None)
            return self._run(self._source.grouped(latents_or_images, self._per_chunk(alphas)), alphas)
        source: Source = self._source.read(latents_or_images)
        alphas = self._read(source.samples)
        return self._run(chunked(source, self._per_chunk(alphas)), alphas)

    def samples(self, latents_or_images: Any) -> Iterator[Samples]:
        """Yield what is given as samples, those of one latent or one photo at a time."""
        return chunked(self._source.read(latents_or_images), 1)

    def edit_read(self, samples: Samples, first: int = 0) -> EditResult:
        """Edit samples that were read, the first of number `first`, by the session's own amounts, as a sweep."""
        rows = [amounts.rows(0, len(samples.ws)) for amounts in self._read(len(samples.ws))]
        return self.edit_samples(samples, rows, first)

    def _read(self, samples: int | None) -> list[Alphas]:
        amounts = read_alphas(self._amounts, samples, self._word)
        if self._steering is not None:
            for k, one in enumerate(amounts):
                self._steering.check(k, one.values)
        return amounts

    def _per_chunk(self, alphas: list[Alphas]) -> int:
        return max(1, self.options.batch_size // max(a.values.shape[1] for a in alphas))

    def _run(self, chunks: Iterator[Samples], alphas: list[Alphas], first: int = 0) -> Iterator[EditResult]:
        start = first_photo = 0
        for samples in chunks:
            count = len(samples.ws)
            result = self.edit_samples(samples, [a.rows(start, count) for a in alphas], first + start, first_photo)
            start += count
            first_photo += len(samples.photos or [])
            if any(a.sweep for a in alphas):
                yield result
                continue
            images = None if result.images is None else result.images[:, 0]
            offsets = None if result.offsets is None else result.offsets[:, 0]
            photos = None if result.photos is None else [photo[0] for photo in result.photos]
            reached = None
            if result.reached is not None:
                reached = {name: one.first_of_sweep() for name, one in result.reached.items()}
            latents = result.latents[:, 0]
            yield replace(result, images=images, latents=latents, offsets=offsets, photos=photos, reached=reached)

    @torch.no_grad()
    def edit_samples(
        self, samples: Samples, rows: Sequence[Tensor], first: int = 0, first_photo: int = 0
    ) -> EditResult:
        """Edit and synthesise M samples, the first of number `first`, as a sweep, by other amounts than the session's.

        `rows`: α, or what by or to say, one `[M, 1 or K]` for each editor.
        """
        ws, options = samples.ws, self.options  # [M, L, C]
        count, sweep = len(ws), max(row.shape[1] for row in rows)
        amounts = torch.stack([row.expand(count, sweep) for row in rows], 2)  # [M, K, E]
        reached = None
        if self._steering is not None:
            amounts, reached = self._steered(self._steering, samples, amounts, first)
        edited, offsets = self._moved(ws.repeat_interleave(sweep, 0), amounts.flatten(0, 1).to(ws.device))
        if not bool(torch.isfinite(edited).all()):
            raise InvalidInputError("the edited latents are beyond what numbers can hold: an alpha is far too large")
        images, carried = self._images(edited, samples)  # [M K, C, H, W]
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
            reached,
            samples.tuned,
            samples.fits,
            carried,
        )

    def _moved(self, ws: Tensor, alphas: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return latents `[R, L, C]` edited by `alphas` `[R, E]`, and with raw edits what they add at α = 0."""
        offsets = torch.zeros_like(ws) if self.options.raw else None
        for part in self._parts:
            if len(part) > 1:
                flows = [cast(Editor, self._editors[k]) for k in part]
                ws = edit_together(flows, ws, [alphas[:, k] for k in part], slots=self._slots)
                continue
            editor = self._editors[part[0]]
            if offsets is not None:
                offset = editor.offset(ws).to(offsets)
                if self._slots is not None:
                    mask = torch.zeros(ws.shape[1], 1, device=ws.device, dtype=offset.dtype)
                    mask[list(self._slots)] = 1
                    offset = offset * mask
                offsets = offsets + offset
            ws = editor.edit(ws, alphas[:, part[0]], raw=self.options.raw, slots=self._slots)
        return ws, offsets

    def _steered(
        self, steering: Steering, samples: Samples, amounts: Tensor, first: int
    ) -> tuple[Tensor, dict[str, Reached]]:
        """Return α and what it reaches; tuned faces are looked at as they will be shown, one after the other."""
        plain, ws = self._synthesis, samples.ws
        if samples.tuned is None:
            return steering.find(ws, amounts, partial(self._look, plain), first)
        parts = []
        for k, face in enumerate(samples.tuned):
            look = partial(self._look, face.synthesis(self._generator, plain))
            parts.append(steering.find(ws[k : k + 1], amounts[k : k + 1], look, first + k))
        reached = {name: Reached.joined([one[name] for _, one in parts]) for name in self.attributes}
        return torch.cat([alphas for alphas, _ in parts]), reached

    @property
    def _synthesis(self) -> Synthesise:
        chosen = self.options.synthesise
        return chosen if callable(chosen) else self._generator.synthesis

    def _look(self, synthesis: Synthesise, ws: Tensor, alphas: Tensor) -> Iterator[Tensor]:
        """Yield what edits by `alphas` `[R, E]` look like, `batch_size` images at a time."""
        options, generator = self.options, self._generator
        noise_mode = "none" if options.noise_mode == "none" else "const"
        for start in range(0, len(ws), options.batch_size):
            part = slice(start, start + options.batch_size)
            edited, _ = self._moved(ws[part], alphas[part])
            yield synthesis(edited if generator.code_dtype == torch.float64 else edited.float(), noise_mode=noise_mode)

    def _images(self, edited: Tensor, samples: Samples) -> tuple[Tensor | None, list[float] | None]:
        """Synthesise latents, `batch_size` at a time, tuned faces one by one; and what is carried at least."""
        generator, synthesis = self._generator, self._synthesis
        if samples.tuned is None or not self.options.synthesise:
            images = self._synthesised(edited, synthesis) if self.options.synthesise else None
            if samples.photos is None or self.options.likeness not in ("tuned", "auto"):
                return images, None
            return images, [float(samples.tuned is not None)] * len(samples.ws)
        each = len(edited) // len(samples.tuned)  # a sweep's
        parts, shares = [], []
        for k, face in enumerate(samples.tuned):  # one face's photo and pictures are in memory at a time
            carried = face.synthesis(generator, synthesis)
            parts.append(self._synthesised(edited[k * each : (k + 1) * each], carried))
            shares.append(carried.least)
        return torch.cat(parts), shares

    def _synthesised(self, edited: Tensor, synthesis: Synthesise) -> Tensor:
        options = self.options
        keep_double = self._generator.code_dtype == torch.float64
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
        if self.options.paste_back is True and samples.tuned is None:
            mask = "face"
        rows = iter(images)
        before = iter(samples.tuned or [])
        result = []
        for photo in samples.photos or []:
            assert photo.pixels is not None
            steps = [photo.pixels] * images.shape[1]
            for face in photo.faces:
                edited = to_arrays(as_rgb(next(rows)))  # [K, S, S, 3]
                tuned = next(before, None)
                crop = None if tuned is None else tuned.photo  # what is not the edit's stays the photo's
                persons = self._persons(photo.pixels, face.alignment, edited) if mask == "head" else [None] * len(steps)
                steps = [
                    paste_back(step, one, face.alignment, mask=mask, feather=feather, unedited=crop, person=person)
                    for step, one, person in zip(steps, edited, persons, strict=True)
                ]
            result.append(np.stack(steps))
        return result

    def _persons(
        self, photo: NDArray[np.uint8], alignment: Alignment, edited: NDArray[np.uint8]
    ) -> list[NDArray[np.float32]]:
        """Where a person is in a photo's crop and in its edited pictures `[K, S, S, 3]`: `[K, 2, M, M]`."""
        if self._heads is None:
            self._heads = HeadOutlines(self._generator.device)
        return list(self._heads(photo, alignment, edited))

    def _empty(self, alphas: list[Alphas], photos: bool) -> EditResult:
        """The result of editing nothing, in the shapes and on the device that one sample's would have."""
        options, generator = self.options, self._generator
        sweep = (max(a.values.shape[1] for a in alphas),) if any(a.sweep for a in alphas) else ()
        device = cast("torch.device | None", options.output_device) or generator.device
        latents = torch.zeros(0, *sweep, generator.num_ws, generator.w_dim, device=device, dtype=generator.code_dtype)
        size = (generator.img_channels, *generator.img_size)
        dtype = torch.uint8 if options.output == "uint8" else generator.code_dtype
        images = torch.zeros(0, *sweep, *size, dtype=dtype, device=device) if options.synthesise else None
        sources = torch.zeros(0, generator.num_ws, generator.w_dim, device=device, dtype=generator.code_dtype)
        return EditResult(
            images,
            latents,
            sources,
            latents.clone() if options.raw else None,
            [] if photos else None,
            [] if options.paste_back else None,
            [] if photos else None,
            [] if options.paste_back else None,
        )


def _amount(alpha: Any, options: EditOptions) -> tuple[str, Any]:
    """Return which of alpha, by and to is given, and what."""
    given = {"alpha": alpha, "by": options.by, "to": options.to}
    words = [word for word, value in given.items() if value is not None]
    if len(words) != 1:
        raise InvalidInputError(f"give one of alpha, by and to; {' and '.join(words) or 'none of them'} is given")
    return words[0], given[words[0]]


def _alone(editors: Sequence[LatentEditor]) -> list[list[int]]:
    return [[k] for k in range(len(editors))]


def _together(editors: Sequence[LatentEditor]) -> list[list[int]]:
    """Return the numbers of the editors in order, flows that can be summed and stand side by side in one list."""
    parts: list[list[int]] = []
    before = None
    for k, editor in enumerate(editors):
        config = editor.info.config if isinstance(editor, Editor) else None
        kind = config.layers if config is not None and config.form == "flow" else None
        if kind is not None and kind == before:
            parts[-1].append(k)
        else:
            parts.append([k])
        before = kind
    return parts


def _editors(
    generator: Generator, editor: Any, word: str, amount: Any, same_w_space: bool
) -> tuple[list[LatentEditor], list[Any]]:
    """Return the editors for this generator, and one amount as given for each."""
    several = isinstance(editor, (list, tuple))
    given = list(editor) if several else [editor]
    if not given:
        raise InvalidInputError("no editor given; pass at least one")
    if several:
        if isinstance(amount, (str, bytes)) or not hasattr(amount, "__len__") or getattr(amount, "ndim", 1) == 0:
            raise InvalidInputError(f"with a sequence of {len(given)} editors, {word} is a sequence with one for each")
        if len(amount) != len(given):
            values = "alphas" if word == "alpha" else f"values of {word}"
            raise InvalidInputError(
                f"{len(given)} editors, but {len(amount)} {values}; give one {word} for each editor"
            )
    loaded: list[LatentEditor] = []
    for one in given:
        if isinstance(one, (str, os.PathLike)):
            one = load_editor(one)
        if not hasattr(one, "edit") or not hasattr(one, "for_generator"):
            raise InvalidInputError(f"an editor is an Editor, a bundled name or a file; got {type(one).__name__}")
        loaded.append(cast(LatentEditor, one).for_generator(generator, same_w_space=same_w_space))
    return loaded, list(amount) if several else [amount]


def _by_sample(flat: Tensor, sweep: int) -> Tensor:
    return flat.reshape(-1, sweep, *flat.shape[1:])
