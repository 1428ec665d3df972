"""A photo's reconstruction goes on in the background: nearer step by step, swapped in when better, stopped at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_studio import small_studio

from deltafast.app.levels import Level
from deltafast.app.refinement import Reconstruction, Refinement, reconstruct_quickly
from deltafast.app.studio import Studio
from deltafast.app.turns import BACKGROUND
from deltafast.errors import InvalidInputError
from deltafast.generators.w_statistics import WStatistics
from deltafast.projection import RefineConfig
from deltafast.projection.fit import FitReport
from deltafast.projection.tuned_face import TunedFace

_STEPS = 6
_REFINED = Level("refined", RefineConfig(steps=_STEPS, patience=_STEPS))
_CARRIED = Level("tuned", carries=True)


class _Distance:
    """The mean squared difference, as the refinement asks for it."""

    def describe(self, targets: torch.Tensor) -> torch.Tensor:
        return targets

    def __call__(self, images: torch.Tensor, described: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"perceptual": (images - described).square().mean((1, 2, 3))}


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """The tiny studio, whose projector really refines; its measure of a person is the mean squared difference."""
    made = small_studio(tmp_path)
    projector: Any = made.projector
    projector.distance = _Distance()
    projector.statistics = WStatistics.of(made.generator)

    def measure(targets: torch.Tensor, images: torch.Tensor, ws: torch.Tensor) -> list[FitReport]:
        return [
            FitReport(0.5, True, float((a - b).square().mean()), 0.9, 0.04)
            for a, b in zip(targets, images, strict=True)
        ]

    projector.measure = measure
    return made


def _begun(studio: Studio, levels: tuple[Level, ...]) -> tuple[Refinement, Reconstruction, list[Reconstruction]]:
    with torch.no_grad():
        target = studio.generator.synthesis(torch.randn(1, studio.generator.num_ws, studio.generator.w_dim)).clamp(
            -1, 1
        )
    start = reconstruct_quickly(studio, target)
    found: list[Reconstruction] = []
    photo = np.zeros((64, 64, 3), np.uint8)
    return Refinement(studio, target, photo, start, found.append, levels), start, found


def test_a_refined_photo_is_nearer_and_said_to_be_done(studio: Studio) -> None:
    torch.manual_seed(0)
    refinement, start, found = _begun(studio, (_REFINED,))
    assert refinement.share == 0
    refinement.start()
    refinement.join(60)
    assert (refinement.state, refinement.share) == ("done", 1.0)
    (better,) = found
    assert better.better_than(start)
    assert not torch.equal(better.ws, start.ws)
    assert refinement._work is None  # a visit that goes on has no use for what was worked on


def test_a_stop_ends_it_after_the_step_that_is_being_taken(studio: Studio) -> None:
    torch.manual_seed(0)
    refinement, _, _ = _begun(studio, (Level("refined", RefineConfig(steps=100_000, patience=100_000)), _CARRIED))
    refinement.start()
    while refinement._steps < 2:
        refinement.join(0.01)
    refinement.stop()
    refinement.join(60)
    assert refinement.state == "stopped"
    assert refinement.share < 0.1
    assert refinement.level.name == "refined"
    assert studio.turns.waiting(BACKGROUND) == 0
    with studio.turns.turn():  # its turn is given back
        pass


def test_at_last_the_photo_itself_is_carried_and_where_it_cannot_be_what_there_is_stays(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    refinement, _, found = _begun(studio, (_REFINED, _CARRIED))
    assert refinement._work is not None
    target = refinement._work.target
    monkeypatch.setattr(TunedFace, "synthesis", lambda self, generator, synthesise=None: lambda ws: target)
    refinement.start()
    refinement.join(60)
    assert [one.level.name for one in found] == ["refined", "tuned"]
    assert found[1].carried is not None
    assert torch.equal(found[1].ws, found[0].ws)

    def unseen(self: TunedFace, generator: object, synthesise: object = None) -> None:
        raise InvalidInputError("no face mesh is found in the photo")

    monkeypatch.setattr(TunedFace, "synthesis", unseen)
    torch.manual_seed(0)
    refinement, _, found = _begun(studio, (_REFINED, _CARRIED))
    refinement.start()
    refinement.join(60)
    assert refinement.state == "done"
    assert [one.level.name for one in found] == ["refined"]
