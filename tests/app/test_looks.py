"""How early a preview stops is what the machine can do in the time that there is; full pictures follow estimates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_generators import mobilestylegan_tensors
from small_studio import small_studio

from deltafast.app.looks import Look, PreviewChooser
from deltafast.app.visit import Visit
from deltafast.generators.build import build_generator


@pytest.fixture(scope="module")
def generator() -> Any:
    """A small MobileStyleGAN of 256 pixels, whose features can be had at 8 to 128."""
    tensors = mobilestylegan_tensors(resolution=256)
    return build_generator(tensors, {"architecture": "mobilestylegan", "img_resolution": 256}, "tiny")


@pytest.mark.parametrize(
    ("slow_from", "chosen"), [(0, (64, True)), (64, (64, True)), (128, (64, False)), (256, (128, False)), (512, None)]
)
def test_a_preview_stops_as_late_as_the_time_allows(
    generator: Any, monkeypatch: pytest.MonkeyPatch, slow_from: int, chosen: tuple[int, bool] | None
) -> None:
    chooser = PreviewChooser(generator, budget=0.1)

    def seconds(stop: tuple[int, bool], ws: torch.Tensor) -> float:
        size, first_layer = stop
        return 1.0 if (size or 256) - first_layer >= slow_from else 0.01

    monkeypatch.setattr(chooser, "_seconds", seconds)
    preview = chooser.preview(torch.zeros(1, generator.num_ws, generator.w_dim))
    assert (None if preview is None else (preview.resolution, preview.first_layer)) == chosen


def test_every_preview_begins_with_the_same_few_faces_which_are_made_once(
    generator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chooser = PreviewChooser(generator)
    monkeypatch.setattr(chooser, "_seconds", lambda stop, ws: 1.0)
    faces = torch.randn(3, 1, generator.num_ws, generator.w_dim, generator=torch.Generator().manual_seed(0))
    made: list[int] = []
    synthesis = generator.synthesis.forward
    monkeypatch.setattr(generator.synthesis, "forward", lambda ws, *rest: made.append(len(ws)) or synthesis(ws, *rest))
    first, second = (chooser.preview(ws) for ws in faces[:2])
    assert first is not None
    assert second is not None
    assert made == [1, 1, 1, 1]
    assert torch.equal(first(faces[2]), second(faces[2]))
    second.fit(faces[1], generator.synthesis(faces[1]))
    assert not torch.equal(first(faces[2]), second(faces[2]))
    third = chooser.preview(faces[2])
    assert third is not None
    assert torch.equal(first(faces[2]), third(faces[2]))  # nobody's own face is in another's map


def test_one_busy_moment_does_not_stay(generator: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    chooser = PreviewChooser(generator)
    clock = iter([0.0, 5.0, 10.0, 10.01, 20.0, 24.0])
    monkeypatch.setattr("deltafast.app.looks.time.perf_counter", lambda: next(clock))
    taken = [chooser._seconds((64, True), torch.zeros(1, generator.num_ws, generator.w_dim)) for _ in range(3)]
    assert taken == pytest.approx([5.0, 0.01, 0.01])


def test_while_a_slider_moves_an_estimate_is_shown_and_at_rest_and_saved_the_full_picture(tmp_path: Path) -> None:
    studio = small_studio(tmp_path)
    visit = Visit(studio, calm=0.0)
    visit.sample(3)
    face = visit.face
    assert face is not None
    asked: list[int] = []

    def estimate(ws: torch.Tensor) -> torch.Tensor:
        asked.append(len(ws))
        return torch.zeros(1, 3, 16, 16)

    object.__setattr__(face, "look", Look(face.look.full, estimate))
    assert visit.move({"yaw": 15.0}).pixels.shape == (16, 16, 3)
    saved = visit.picture_file(False)
    full = studio.picture(visit.edited.ws, face.look)  # type: ignore[union-attr]
    assert len(saved) > 1000
    assert np.array_equal(visit.pictures(False)[1], full)
    visit.move({"yaw": 20.0})
    assert visit.finish()
    assert not visit.finish()
    assert visit.pictures(False)[1].shape == (64, 64, 3)
    assert asked == [1, 1]
