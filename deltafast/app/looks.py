"""How a face's latents become pictures: in full, and quickly while a slider moves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from deltafast.generators.base import Generator
from deltafast.generators.preview import Preview

__all__ = ["Look", "PreviewChooser"]

_BUDGET = 0.1  # seconds that the synthesis of a moving picture may take
_SMALLEST = 64  # pixels of the features that a preview is made of, at least
_SHOWN = 512  # pixels of a preview, at most


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


class PreviewChooser:
    """Chooses how early the synthesis stops for a preview: as late as this machine does in `budget` seconds.

    It is timed anew with every face, and the best time counts, so that a busy moment does not stay.
    """

    def __init__(self, generator: Generator, budget: float = _BUDGET) -> None:
        self._generator = generator
        self._budget = budget
        self._best: dict[int, float] = {}  # seconds, by the resolution of the features; the whole synthesis' at 0

    def preview(self, ws: Tensor) -> Preview | None:
        """Return a preview for the face `ws` `[1, num_ws, w_dim]`, not fitted yet; None where none is needed."""
        synthesis = self._generator.synthesis
        largest = min(_SHOWN, synthesis.img_resolution) // 2
        known = [size for size in synthesis.feature_resolutions if _SMALLEST <= size <= largest]
        if not known:
            return None
        chosen = known[0]
        for size in known:
            if self._seconds(size, lambda size=size: synthesis.features(ws, size)) > self._budget:  # type: ignore[misc]
                break
            chosen = size
        else:
            if self._seconds(0, lambda: synthesis(ws)) <= self._budget:
                return None
        scale = max(2, _SHOWN // 2 // chosen)
        return Preview(synthesis, chosen, min(scale, synthesis.img_resolution // chosen))

    def _seconds(self, size: int, run: Callable[[], Tensor]) -> float:
        before = time.perf_counter()
        with torch.no_grad():
            run()
        took = time.perf_counter() - before
        self._best[size] = min(took, self._best.get(size, took))
        return self._best[size]
