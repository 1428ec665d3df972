"""Moving pictures of edits: a path of amounts, walked at constant speed, as frames."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from deltafast.arguments import check_count
from deltafast.editing.options import EditOptions
from deltafast.editing.provenance import Provenance
from deltafast.editing.result import EditResult
from deltafast.editing.samples import Samples, with_default_likeness
from deltafast.editing.session import EditSession
from deltafast.errors import InvalidInputError
from deltafast.generators.base import Generator
from deltafast.moving_pictures import write_moving_picture
from deltafast.pixels import as_rgb, in_srgb, to_arrays

__all__ = ["Animation", "AnimationPath", "Animator", "animate"]

_KNOTS = 4  # on a straight piece of the path, at which it is seen how far the editors must go
_LEAST = 16  # pixels of a frame's longer side


@dataclass(frozen=True, eq=False)
class Animation:
    """The frames of one face, or of one photo with its face put back.

    - `frames`: uint8 sRGB `[T, H, W, 3]`.
    - `amounts`: what was asked for in each frame, float32 `[T, E]`, one column an editor: alpha, or by or to in the
      attribute's unit.
    - `alphas`: how far the editors went for it, float32 `[T, E]`.
    - `provenance`: what its file says of it.
    """

    frames: NDArray[np.uint8]
    amounts: NDArray[np.float32]
    alphas: NDArray[np.float32]
    provenance: Provenance

    def save(self, path: str | os.PathLike[str], *, fps: float = 25.0, loop: bool = True) -> None:
        """Write it as .gif, .webp or .mp4, with its provenance, by `write_moving_picture`."""
        said = self.provenance
        write_moving_picture(path, self.frames, fps=fps, loop=loop, comment=said.as_text(), xmp=said.as_xmp())


@dataclass(frozen=True, eq=False)
class AnimationPath:
    """A polygon of amounts: `keys` `[P, E]`, at least two, in the order in which they are passed.

    Amounts run at one speed: of several editors that one counts which has, as a share of its own range, the longest
    way. `there_and_back` leads back to the beginning as it came, so that the picture can begin again without a leap.
    """

    keys: NDArray[np.float64]
    there_and_back: bool = True

    def __post_init__(self) -> None:
        keys = np.asarray(self.keys, np.float64)
        if keys.ndim != 2 or len(keys) < 2 or not np.isfinite(keys).all():
            raise InvalidInputError("a path has at least two amounts for each editor, all finite, as in by=[-20, 20]")
        if not (keys != keys[0]).any():
            raise InvalidInputError("a path must lead somewhere: all its amounts are the same")
        object.__setattr__(self, "keys", keys)

    def places(self) -> NDArray[np.float64]:
        """Return how far along the way each key lies, `[P]`, from 0 to 1."""
        extent = np.ptp(self.keys, axis=0)  # [E]
        lengths = (np.abs(np.diff(self.keys, axis=0)) / np.where(extent > 0, extent, 1.0)).max(1)  # [P - 1]
        way = np.concatenate([[0.0], np.cumsum(lengths)])
        return np.asarray(way / way[-1])

    def at(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the amounts `[N, E]` at places `[N]` along the way."""
        ends = self.places()
        return np.stack([np.interp(places, ends, column) for column in self.keys.T], 1)

    def knots(self) -> NDArray[np.float64]:
        """Return the places at which it is seen how far the editors must go: the keys, and some between them."""
        ends = self.places()
        pieces = [np.linspace(a, b, _KNOTS, endpoint=False) for a, b in itertools.pairwise(ends) if b > a]
        return np.concatenate([*pieces, [1.0]])

    def frame_places(self, frames: int) -> NDArray[np.float64]:
        """Return where along the way each of `frames` frames is; there and back, an odd number becomes one more.

        There and back, the ends of the way are shown once each, so that nothing stands still when it begins again.
        """
        if not self.there_and_back:
            return np.linspace(0.0, 1.0, frames)
        half = (frames + 1) // 2
        there = np.arange(half + 1) / half
        return np.concatenate([there, there[-2:0:-1]])


class Animator:
    """What `animate` does, for many calls: the projector and its networks are set up once.

    Arguments as those of `animate`; `path` has the keys of all editors, `word` says what they are: alpha, by or to.
    """

    def __init__(
        self,
        generator: Generator,
        editors: Sequence[Any],
        path: AnimationPath,
        *,
        word: str = "by",
        frames: int = 48,
        size: int | None = 512,
        options: EditOptions | None = None,
    ) -> None:
        check_count("frames", frames, 2)
        if size is not None:
            check_count("size", size, _LEAST)
        if path.keys.shape[1] != len(editors):
            raise InvalidInputError(f"{len(editors)} editors, but amounts for {path.keys.shape[1]}")
        chosen = replace(options or EditOptions(), by=None, to=None, output="uint8", output_device="cpu")
        if chosen.raw or chosen.synthesise is False:
            raise InvalidInputError(
                "an animation shows images of edits that are none at alpha 0: no raw, no synthesise=False"
            )
        self._path = path
        self._size = size
        places = path.frame_places(frames)
        self._places = np.unique(places)  # what is shown twice is made once
        self._shown = np.searchsorted(self._places, places)  # [T]
        self._amounts = path.at(places).astype(np.float32)  # [T, E]
        self._maker = EditSession(generator, list(editors), [0.0] * len(editors), chosen)
        names = self._maker.attributes  # never the editors as given: a file's path says where it lies
        edits = [{"attribute": name, word: way.tolist()} for name, way in zip(names, path.keys.T, strict=True)]
        self._provenance = Provenance.of(generator, edits, composite=bool(chosen.paste_back))
        self._finder: EditSession | None = None
        if word != "alpha":
            sweep: Any = [[list(column)] for column in path.at(path.knots()).T]
            looked_at = chosen.synthesise if callable(chosen.synthesise) else False  # the images at the end are not
            steered = replace(chosen, synthesise=looked_at, paste_back=False)
            steered = replace(steered, by=sweep) if word == "by" else replace(steered, to=sweep)
            self._finder = EditSession(generator, list(editors), None, steered)

    def animations(self, latents_or_images: Any) -> Iterator[Animation]:
        """Yield an `Animation` for each face, or with paste_back for each photo, in order."""
        first = 0
        for samples in self._maker.samples(latents_or_images):
            alphas = self._alphas(samples, first)  # [M, U, E]
            yield from self._frames(samples, alphas, first)
            first += len(samples.ws)

    def _alphas(self, samples: Samples, first: int) -> Tensor:
        """How far the editors go for each of the frames that differ, `[M, U, E]`."""
        if self._finder is None:
            return torch.from_numpy(self._path.at(self._places)).float().expand(len(samples.ws), -1, -1)
        knots = self._path.knots()
        reached = self._finder.edit_read(samples, first).reached or {}
        alphas = torch.stack([one.alpha for one in reached.values()], 2).double().numpy()  # [M, K, E]
        return torch.from_numpy(PchipInterpolator(knots, alphas, axis=1)(self._places)).float()

    def _frames(self, samples: Samples, alphas: Tensor, first: int) -> Iterator[Animation]:
        batch = max(1, self._maker.options.batch_size // len(samples.ws))
        parts: list[list[NDArray[np.uint8]]] = []  # of each picture
        for start in range(0, alphas.shape[1], batch):
            rows = alphas[:, start : start + batch].unbind(2)
            for k, pictures in enumerate(_pictures(self._maker.edit_samples(samples, rows, first))):
                if k == len(parts):
                    parts.append([])
                parts[k].extend(_scaled(picture, self._size) for picture in pictures)
        for k, one in enumerate(parts):
            own = alphas[min(k, len(alphas) - 1)].numpy()  # [U, E]
            said = replace(self._provenance, composite=True) if samples.tuned is not None else self._provenance
            yield Animation(np.stack(one)[self._shown], self._amounts, own[self._shown], said)


def animate(
    generator: Generator,
    latents_or_images: Any,
    editor: Any,
    alpha: Any = None,
    options: EditOptions | None = None,
    *,
    frames: int = 48,
    there_and_back: bool = True,
    size: int | None = 512,
    **changes: Any,
) -> list[Animation]:
    """Return a moving picture for each face: `animate(G, "me.jpg", "yaw", by=[-20, 20])[0].save("me.gif")`.

    Args:

    - `latents_or_images`, `editor`, `options`, further keywords: as those of `edit_batch`. With `paste_back` each photo
      becomes one picture, the face moving in its place; of several faces all move.
    - `alpha`, or `by`, or `to`: the amounts that are passed, two or more: `by=[0, 20, -20, 0]`; with a sequence of
      editors such a sequence, equally long, for each: `by=[[-20, 20], [0, 0.1]]` (a number stands for a way that does
      not move). by and to run at constant speed in the attribute, which is read off the image at the amounts given and
      at three places between each two; alpha runs at constant speed in alpha.
    - `frames`: how many, at least 2; `there_and_back`: the way back too, so that it can begin again without a leap (an
      odd number of frames then becomes one more).
    - `size`: the longer side of the frames in pixels; None keeps the generator's, or the photo's, own.

    Errors and warnings as those of `edit_batch`; `InvalidInputError` for a path that leads nowhere.
    """
    chosen = replace(options or EditOptions(), **changes)
    given = {word: way for word, way in (("alpha", alpha), ("by", chosen.by), ("to", chosen.to)) if way is not None}
    if len(given) != 1:
        raise InvalidInputError(f"give one of alpha, by and to; {' and '.join(given) or 'none of them'} is given")
    ((word, way),) = given.items()
    several = isinstance(editor, (list, tuple))
    editors = list(editor) if several else [editor]
    path = AnimationPath(_keys(list(way) if several else [way], len(editors)), there_and_back)
    chosen = with_default_likeness(chosen, generator, latents_or_images)
    animator = Animator(generator, editors, path, word=word, frames=frames, size=size, options=chosen)
    return list(animator.animations(latents_or_images))


def _keys(ways: list[Any], editors: int) -> NDArray[np.float64]:
    """Return the keys `[P, E]` of one way for each editor, a number standing for one that does not move."""
    if len(ways) != editors:
        raise InvalidInputError(f"{editors} editors, but {len(ways)} ways; give one for each editor")
    try:
        columns = [np.atleast_1d(np.asarray(way, np.float64)) for way in ways]
    except (TypeError, ValueError) as error:
        raise InvalidInputError("a path is numbers, as in by=[-20, 20]") from error
    longest = max(len(column) for column in columns)
    if any(column.ndim != 1 or len(column) not in (1, longest) for column in columns):
        raise InvalidInputError("the ways of several editors must have as many amounts, or one that stays")
    return np.stack([np.broadcast_to(column, longest) for column in columns], 1)


def _pictures(edit: EditResult) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames `[K, H, W, 3]` of each photo, in sRGB, or where there is none of each face."""
    if edit.photos is not None:
        for photo, profile in zip(edit.photos, edit.profiles or [], strict=True):
            yield photo if profile is None else np.stack([in_srgb(frame, profile) for frame in photo])
        return
    assert edit.images is not None  # [M, K, C, H, W]
    for images in edit.images:
        yield to_arrays(as_rgb(images))


def _scaled(picture: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    """Return a picture `[H, W, 3]` reduced so that its longer side has `size` pixels; never enlarged."""
    longest = max(picture.shape[:2])
    if size is None or longest <= size:
        return picture
    width, height = (max(1, math.floor(side * size / longest + 0.5)) for side in picture.shape[1::-1])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))
