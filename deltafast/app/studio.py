"""What all visits share: the generator, the editors' dials, and the one turn to compute."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.app.dials import Dial, Ends, dial_of, measured_ends
from deltafast.app.looks import Look, PreviewChooser
from deltafast.app.turns import Ticket, Turns
from deltafast.delta.amounts import UNITS, AmountReader
from deltafast.delta.editor import Editor, LatentEditor, list_editors
from deltafast.delta.loading import load_editor
from deltafast.editing import EditOptions, EditSession, Reached
from deltafast.errors import DeltafastError, EditorError
from deltafast.faces.comparison import identity_distance
from deltafast.faces.meter import Face, FaceMeter
from deltafast.faces.photos import Photo, PhotoReader
from deltafast.files import image_size
from deltafast.generators.base import Generator
from deltafast.memory import return_freed_memory
from deltafast.pixels import as_rgb, to_arrays, to_floats
from deltafast.projection import Encoder, Projector
from deltafast.projection.tuned_face import TunedFace

__all__ = ["Edited", "Studio"]

Pixels = NDArray[np.uint8]
_TIDY_EVERY = 10.0  # seconds
MAX_MEGAPIXELS = 50  # of a photo, all of whose pixels are kept while its visit lasts


@dataclass(frozen=True)
class Edited:
    """An edit: latents `[1, num_ws, w_dim]`, picture uint8 `[H, W, 3]`, α by dial, and what was read off it (by dial).

    `reached` is empty where nothing was read: a quick picture, or a face that the network does not see. Of a
    `is_preview` the picture is a smaller estimate.
    """

    ws: Tensor
    pixels: Pixels
    alphas: dict[str, float]
    reached: dict[str, Reached]
    is_preview: bool = False


class Studio:
    """Generator, projector, editors and meters, set up once for all visits.

    `editors`: names or files, the bundled ones that fit `generator` unless given; `encoder` as `Projector` takes it.
    Everything that computes is called within a turn of `turns`.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        encoder: Encoder | None = None,
        editors: Sequence[str | os.PathLike[str]] | None = None,
    ) -> None:
        self.generator = generator
        self.turns = Turns()
        self._encoder = encoder
        self._projector: Projector | None = None
        self._meter: FaceMeter | None = None
        self._has_meter = True
        self._reader: AmountReader | None = None
        self._has_reader = True
        self._photos = PhotoReader(faces="all", size=generator.img_resolution, keep_photo=True)
        self._previews = PreviewChooser(generator)
        self._tidied = float("-inf")
        self.dials: dict[str, Dial] = {}
        for given in list_editors() if editors is None else editors:
            try:
                dial = self.dial(given, self.dials)
            except EditorError:
                if editors is not None:
                    raise
                continue  # a bundled one, for another generator
            self.dials[dial.key] = dial

    def tidy(self) -> None:
        """Hand freed memory back to the system, every ten seconds at most; after what took long anyway.

        Between the pictures that visits keep, freed memory is in pieces that the next large tensors do not fit into.
        """
        now = time.monotonic()
        if now - self._tidied >= _TIDY_EVERY:
            self._tidied = now
            return_freed_memory()

    @property
    def projector(self) -> Projector:
        """What turns photos into latents. Raises `EncoderError` where the encoder is for another generator."""
        if self._projector is None:
            self._projector = Projector(self.generator, self._encoder)
        return self._projector

    def dial(
        self, name_or_file: str | os.PathLike[str], others: Mapping[str, Dial], face: Tensor | None = None
    ) -> Dial:
        """Read an editor or a direction as one more dial beside `others`.

        How far an editor goes that does not say so itself is looked at on `face` `[1, num_ws, w_dim]`, where there is
        one. Raises `EditorError` where it is damaged or does not fit the generator.
        """
        loaded = load_editor(name_or_file)
        fitted = loaded.for_generator(self.generator)
        ends = measured_ends(loaded.info) if isinstance(loaded, Editor) else None
        if ends is None and isinstance(loaded, Editor):
            ends = self.ends_on(
                fitted, self.generator.w_avg.expand(1, self.generator.num_ws, -1) if face is None else face
            )
        key, number = fitted.attribute[:40], 2
        while key in others:
            key, number = f"{fitted.attribute[:40]} {number}", number + 1
        is_free = all(one.editor.attribute != fitted.attribute for one in others.values() if one.unit is not None)
        return dial_of(key, fitted, ends, unit_is_free=is_free)

    def ends_on(self, editor: LatentEditor, ws: Tensor) -> Ends | None:
        """Return what α = -1 and 1 change on one face `[1, num_ws, w_dim]`; None where no unit or no face is seen."""
        unit = UNITS.get(editor.attribute)
        reader = self._amount_reader()
        if unit is None or reader is None:
            return None
        edited = editor.edit(ws.repeat(3, 1, 1), torch.tensor([-1.0, 0.0, 1.0], device=ws.device))
        with torch.no_grad():
            images = torch.cat([self.generator.synthesis(one[None]) for one in edited])
        column = list(UNITS).index(editor.attribute)
        low, middle, high = reader.read(images)[:, column].tolist()
        changes = torch.tensor([low - middle, high - middle])
        if not bool(torch.isfinite(changes).all()) or not bool(changes.sign().prod() < 0):
            return None
        by = (changes.exp() if unit.ratio else changes).tolist()
        ends = sorted(((round(by[0], 4), -1.0), (round(by[1], 4), 1.0)))
        return ends[0], ends[1]

    def readings(self, ws: Tensor, pixels: Pixels) -> dict[str, float]:
        """Return what a face shows of every attribute that has a unit, NaN where no face is seen."""
        reader = self._amount_reader()
        if reader is None:
            return dict.fromkeys(UNITS, float("nan"))
        image = to_floats(pixels)[None].to(ws.device)  # [1, 3, H, W]
        said = reader.said(reader.read(image))[0].tolist()
        return dict(zip(UNITS, said, strict=True))

    def read_photo(self, path: Path, name: str) -> Photo:
        """Read an uploaded photo and find the faces in it, the largest first; `DeltafastError` says what is wrong."""
        width, height = image_size(path)
        if width * height > MAX_MEGAPIXELS * 1_000_000:
            raise DeltafastError(
                f"{name} has {width * height / 1e6:.0f} megapixels; at most {MAX_MEGAPIXELS} are taken"
            )
        return self._photos.read(path, name)

    @torch.no_grad()
    def look(self, ws: Tensor, carried: TunedFace | None = None) -> Look:
        """Return how a face `[1, num_ws, w_dim]` and its edits are shown, its photo `carried` along where there is one.

        Raises `InvalidInputError` where a photo cannot be carried.
        """
        full = self.generator.synthesis if carried is None else carried.synthesis(self.generator)
        preview = self._previews.preview(ws)
        if preview is None:
            return Look(full)
        preview.fit(ws, self.generator.synthesis(ws))
        return Look(full, preview if carried is None else carried.synthesis(self.generator, preview))

    @torch.no_grad()
    def picture(self, ws: Tensor, look: Look) -> Pixels:
        """Make the full picture of one latent `[1, num_ws, w_dim]`, uint8 `[H, W, 3]`."""
        pixels: Pixels = to_arrays(as_rgb(look.full(ws)))[0]
        return pixels

    @torch.no_grad()
    def quick(self, ws: Tensor, look: Look, dials: Mapping[str, Dial], alphas: Mapping[str, float]) -> Edited:
        """Edit a face by α, without looking at what comes of it: an estimate where the full picture takes long."""
        moved = self._moved(ws, [dials[key] for key in alphas], list(alphas.values()))
        if look.quick is None:
            return Edited(moved, self.picture(moved, look), dict(alphas), {})
        return Edited(moved, to_arrays(as_rgb(look.quick(moved)))[0], dict(alphas), {}, is_preview=True)

    def exact(
        self,
        ws: Tensor,
        look: Look,
        dials: Mapping[str, Dial],
        amounts: Mapping[str, float],
        ticket: Ticket,
    ) -> Edited:
        """Edit a face as `edit_batch` does, until its picture shows what was asked: `amounts` are changes, by dial.

        Of a photo that is carried along, that is the picture which carries it.
        Raises `SupersededError` as soon as `ticket` is stale.
        """
        plain = {key: by for key, by in amounts.items() if dials[key].unit is None}
        steered = [key for key in amounts if dials[key].unit is not None]
        start = self._moved(ws, [dials[key] for key in plain], list(plain.values()))

        def synthesis(codes: Tensor, **options: Any) -> Tensor:
            ticket.check()
            return look.full(codes, **options)

        if not steered:
            return Edited(start, self.picture(start, look), plain, {})
        options = EditOptions(batch_size=1, by=[amounts[key] for key in steered], synthesise=synthesis)
        result = EditSession(self.generator, [dials[key].editor for key in steered], None, options).edit(start)
        assert result.images is not None
        assert result.reached is not None
        reached = {key: result.reached[dials[key].editor.attribute] for key in steered}
        found = {key: float(one.alpha[0]) for key, one in reached.items()}
        return Edited(result.latents, to_arrays(as_rgb(result.images))[0], {**plain, **found}, reached)

    def same_person(self, first: Pixels, second: Pixels) -> float | None:
        """Return dlib's distance of two faces, None where one is not seen or dlib is not installed."""
        faces = [self._measured(one) for one in (first, second)]
        if faces[0] is None or faces[1] is None:
            return None
        return float(identity_distance(faces[0].descriptor, faces[1].descriptor))

    @property
    def measures(self) -> bool:
        """Whether dlib is installed, which judges persons."""
        self._measured(None)
        return self._has_meter

    def _measured(self, pixels: Pixels | None) -> Face | None:
        if self._meter is None and self._has_meter:
            try:
                self._meter = FaceMeter()
            except DeltafastError:  # the extra is not installed
                self._has_meter = False
        small = pixels is None or min(pixels.shape[:2]) < 16
        return None if self._meter is None or small or pixels is None else self._meter.measure(pixels)

    def _amount_reader(self) -> AmountReader | None:
        if self._reader is None and self._has_reader:
            try:
                self._reader = AmountReader(list(UNITS), self.generator.device)
            except DeltafastError:  # the network that reads cannot be fetched
                self._has_reader = False
        return self._reader

    def _moved(self, ws: Tensor, dials: Sequence[Dial], alphas: Sequence[float]) -> Tensor:
        if not dials:
            return ws
        options = EditOptions(synthesise=False, output_device=ws.device)
        return EditSession(self.generator, [dial.editor for dial in dials], list(alphas), options).edit(ws).latents
