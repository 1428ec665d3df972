"""How a face's latents become pictures: in full, and quickly while a slider moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from deltafast.generators.base import Generator
from deltafast.generators.preview import Preview
from deltafast.generators.seeds import latents_from_seeds

__all__ = ["Look", "PreviewChooser"]

_BUDGET = 0.07  # seconds that the synthesis of a moving picture may take; its way to the screen comes on top
_SMALLEST = 64  # pixels of the features that a preview is made of, at least
_SHOWN = 512  # pixels of a preview, at most
_SEEDS = (1000, 1001, 1002, 1003)  # of faces that every preview is fitted on beside its own, and what they count:
_WEIGHT = 0.1  # a map that one face alone decides draws a grid over its edits
_PSI = 0.7


@dataclass(frozen=True, eq=False)
class Look:
    """The pictures of one face: `full` and `quick` make images `[N, channels, H, W]` of latents `[N, num_ws, w_dim]`.

    `quick` is an estimate, of fewer pixels; None where the full picture is quick enough.
    """

    full: Callable[..., Tensor]
    quick: Callable[..., Tensor] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps beside the generator."""
        return sum(int(getattr(one, "nbytes", 0)) for one in (self.full, self.quick))


_Stop = tuple[int, bool]  # the resolution of a preview's features, and whether they are a block's first layer's


class PreviewChooser:
    """Chooses how early the synthesis stops for a preview: as late as this machine does in `budget` seconds.

    It is timed anew with every face, and the best time counts, so that a busy moment does not stay.
    """

    def __init__(self, generator: Generator, budget: float = _BUDGET) -> None:
        self._generator = generator
        self._budget = budget
        self._best: dict[_Stop, float] = {}  # seconds; the whole synthesis' at resolution 0
        self._common: dict[_Stop, Preview] = {}  # fitted on the faces that count for every preview

    def preview(self, ws: Tensor) -> Preview | None:
        """Return a preview for the face `ws` `[1, num_ws, w_dim]`, to be fitted on it; None where none is needed."""
        synthesis = self._generator.synthesis
        largest = min(_SHOWN, synthesis.img_resolution) // 2
        stops: list[_Stop] = [(size, False) for size in synthesis.feature_resolutions if _SMALLEST <= size <= largest]
        if not stops:
            return None
        if synthesis.stops_within_blocks:
            stops.insert(0, (stops[0][0], True))
        chosen = stops[0]
        for stop in stops:
            if self._seconds(stop, ws) > self._budget:
                break
            chosen = stop
        else:
            if self._seconds((0, False), ws) <= self._budget:
                return None
        preview = self._at(chosen)
        preview.begin_with(self._fitted(chosen))
        return preview

    def _at(self, stop: _Stop) -> Preview:
        synthesis, (size, first_layer) = self._generator.synthesis, stop
        scale = min(max(2, _SHOWN // 2 // size), synthesis.img_resolution // size)
        return Preview(synthesis, size, scale, first_layer=first_layer)

    def _fitted(self, stop: _Stop) -> Preview:
        """The preview that all begin with."""
        if stop not in self._common:
            generator, made = self._generator, self._at(stop)
            for seed in _SEEDS:
                ws = latents_from_seeds(generator, [seed], _PSI, class_index=0 if generator.c_dim else None)
                with torch.no_grad():
                    made.fit(ws, generator.synthesis(ws), _WEIGHT)
            self._common[stop] = made
        return self._common[stop]

    def _seconds(self, stop: _Stop, ws: Tensor) -> float:
        synthesis, (size, first_layer) = self._generator.synthesis, stop
        before = time.perf_counter()
        with torch.no_grad():
            if size:
                synthesis.features(ws, size, first_layer=first_layer)
            else:
                synthesis(ws)
        took = time.perf_counter() - before
        self._best[stop] = min(took, self._best.get(stop, took))
        return self._best[stop]
