"""A photo's reconstruction: at once by the encoder, then nearer to the photo in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from deltafast.app.levels import LEVELS, Level
from deltafast.app.studio import Studio
from deltafast.app.turns import BACKGROUND, URGENT
from deltafast.errors import DeltafastError
from deltafast.projection import refine
from deltafast.projection.fit import FitReport

__all__ = ["Reconstruction", "Refinement", "reconstruct_quickly"]

_log = logging.getLogger("deltafast")

State = Literal["running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class Reconstruction:
    """A latent `[1, num_ws, w_dim]` that stands for a photo, the level it was made at, and how well it fits."""

    ws: Tensor
    level: Level
    report: FitReport

    def better_than(self, other: Reconstruction) -> bool:
        """Whether it looks more like the person; where that was not measured, whether it took longer to make."""
        mine, its = self.report.descriptor_distance, other.report.descriptor_distance
        if mine is None or its is None:
            return mine is not None or (its is None and LEVELS.index(self.level) > LEVELS.index(other.level))
        return mine < its


def reconstruct_quickly(studio: Studio, target: Tensor) -> Reconstruction:
    """Return the first level's reconstruction of a `target` of `Projector.target`, within a turn."""
    return _reported(studio, target, studio.projector.encode(target), LEVELS[0])


def _reported(studio: Studio, target: Tensor, ws: Tensor, level: Level) -> Reconstruction:
    projector = studio.projector
    return Reconstruction(ws, level, projector.measure(target, projector.images(ws), ws)[0])


class Refinement:
    """The levels after the first, one after the other, in a thread of its own that lets everyone else go first.

    `found` is called, in that thread, with each reconstruction that is better than the one before.
    """

    def __init__(
        self,
        studio: Studio,
        target: Tensor,
        start: Reconstruction,
        found: Callable[[Reconstruction], None],
        levels: Sequence[Level] = LEVELS[1:],
    ) -> None:
        self._studio = studio
        self._target = target
        self._best = start
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
        try:
            for level in self._levels:
                if self._stopping.is_set():
                    break
                self.level = level
                with self._studio.turns.turn(BACKGROUND):
                    made = self._make(level)
                if made.better_than(self._best):
                    self._best = made
                    self._found(made)
            self.state = "stopped" if self._stopping.is_set() else "done"
        except DeltafastError as error:
            _log.warning("a photo could not be refined: %s", error)
            self.state = "failed"
        except Exception:
            _log.exception("a photo could not be refined")
            self.state = "failed"

    def _make(self, level: Level) -> Reconstruction:
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
            self._target,
            self._best.ws,
            level.refine,
            statistics=projector.statistics,
            shared_base=False,
            on_step=stepped,
        )
        self._steps = before + level.steps
        return _reported(self._studio, self._target, result.ws.detach(), level)
