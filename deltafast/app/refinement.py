"""A photo's reconstruction: at once by the encoder, then nearer to the photo in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.app.levels import LEVELS, Level
from deltafast.app.looks import Look
from deltafast.app.studio import Studio
from deltafast.app.turns import BACKGROUND, URGENT
from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.pixels import as_rgb
from deltafast.projection import refine
from deltafast.projection.fit import FitReport
from deltafast.projection.photos import at_size
from deltafast.projection.tuned_face import TunedFace

__all__ = ["Reconstruction", "Refinement", "reconstruct_quickly"]

_log = logging.getLogger("deltafast")

State = Literal["running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class Reconstruction:
    """A latent `[1, num_ws, w_dim]` that stands for a photo, its look, the level it was made at, and how well it fits.

    `carried` is the photo that is carried along edits, where it is.
    """

    ws: Tensor
    look: Look
    level: Level
    report: FitReport
    carried: TunedFace | None = None

    def better_than(self, other: Reconstruction) -> bool:
        """Whether it looks more like the person; where that was not measured, whether it took longer to make."""
        mine, its = self.report.descriptor_distance, other.report.descriptor_distance
        if mine is None or its is None:
            return mine is not None or (its is None and LEVELS.index(self.level) > LEVELS.index(other.level))
        return mine < its


def reconstruct_quickly(studio: Studio, target: Tensor) -> Reconstruction:
    """Return the first level's reconstruction of a `target` of `Projector.target`, within a turn."""
    return _reported(studio, target, studio.projector.encode(target), LEVELS[0])


def _reported(
    studio: Studio, target: Tensor, ws: Tensor, level: Level, carried: TunedFace | None = None
) -> Reconstruction:
    projector, look = studio.projector, studio.look(ws, carried)
    with torch.no_grad():
        shown = at_size(as_rgb(look.full(ws))[0].float(), target.shape[-1])  # [1, 3, size, size]
    return Reconstruction(ws, look, level, projector.measure(target, shown, ws)[0], carried)


@dataclass
class _Work:
    """What is worked on: the photo as networks take it and as files have it, and the best so far."""

    target: Tensor
    photo: NDArray[np.uint8]
    best: Reconstruction


class Refinement:
    """The levels after the first, one after the other, in a thread of its own that lets everyone else go first.

    `target` is what `Projector.target` makes of the aligned face, `photo` that face itself, uint8 `[S, S, 3]`. `found`
    is called, in that thread, with each reconstruction that is better than the one before.
    """

    def __init__(
        self,
        studio: Studio,
        target: Tensor,
        photo: NDArray[np.uint8],
        start: Reconstruction,
        found: Callable[[Reconstruction], None],
        levels: Sequence[Level] = LEVELS[1:],
    ) -> None:
        self._studio = studio
        self._work: _Work | None = _Work(target, photo, start)
        self._found = found
        self._levels = levels
        self._stopping = threading.Event()
        self._steps = 0
        self.state: State = "running"
        self.level = levels[0] if levels else start.level
        self._thread = threading.Thread(target=self._run, name="refinement", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step that is being taken; what was reached by then counts."""
        self._stopping.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, at most `timeout` seconds."""
        self._thread.join(timeout)

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        total = sum(level.steps for level in self._levels)
        return 1.0 if self.state == "done" or not total else min(1.0, self._steps / total)

    def _run(self) -> None:
        work, self._work = self._work, None  # a visit keeps this for as long as it lasts: its pictures go when it ends
        assert work is not None
        try:
            for level in self._levels:
                if self._stopping.is_set():
                    break
                self.level = level
                with self._studio.turns.turn(BACKGROUND):
                    made = self._make(level, work)
                if made.better_than(work.best):
                    work.best = made
                    self._found(made)
            self.state = "stopped" if self._stopping.is_set() else "done"
        except DeltafastError as error:
            _log.warning("a photo could not be refined: %s", error)
            self.state = "failed"
        except Exception:
            _log.exception("a photo could not be refined")
            self.state = "failed"

    def _make(self, level: Level, work: _Work) -> Reconstruction:
        before = self._steps
        if level.carries:
            made = self._carried(level, work)
        else:
            made = _reported(self._studio, work.target, self._refined(level, work), level)
        if not self._stopping.is_set():
            self._steps = before + level.steps
        return made

    def _carried(self, level: Level, work: _Work) -> Reconstruction:
        """The photo carried along; where no mesh of a face is found for it, the best so far."""
        best = work.best
        try:
            face = TunedFace.of(self._studio.generator, best.ws, work.photo)
            return _reported(self._studio, work.target, best.ws, level, face)
        except InvalidInputError as error:
            _log.info("a photo is not carried along: %s", error)
            return best

    def _refined(self, level: Level, work: _Work) -> Tensor:
        """The latents of the best so far, refined; while it goes on, `_steps` counts its steps."""
        assert level.refine is not None
        projector, before = self._studio.projector, self._steps

        def stepped(step: int) -> bool:
            self._steps = before + step + 1
            if self._stopping.is_set():
                return False
            if self._studio.turns.waiting(URGENT) or self._studio.turns.waiting(BACKGROUND):
                self._studio.turns.give_way()
            return True

        result = refine(
            projector.generator,
            projector.distance,
            work.target,
            work.best.ws,
            level.refine,
            statistics=projector.statistics,
            shared_base=False,
            on_step=stepped,
        )
        return result.ws.detach()
