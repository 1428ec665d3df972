"""The one choice of likeness: steps of refinement, faces that carry their photo, and what the result says of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matrix_generator import C, L, MatrixGenerator
from mesh_faces import landmarks
from torch import Tensor

import deltafast
from deltafast.delta import Editor
from deltafast.delta.amounts import UNITS, AmountReader
from deltafast.editing import EditOptions, samples, steering
from deltafast.editing.animation import AnimationPath, Animator
from deltafast.errors import InvalidInputError
from deltafast.projection import FitReport, ProjectionSettings, TunedFace, tuned_face


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The small generator; photos project to their mean, and a poor fit."""

    class MeanProjector:
        def __init__(self, generator: Any, encoder: Any, settings: ProjectionSettings) -> None:
            self.steps = settings.refine.steps

        def project(self, images: Iterable[Tensor]) -> Tensor:
            means = torch.stack([image.mean() for image in images])
            return means[:, None, None].expand(-1, L, C) + 1 + 100 * self.steps

        def fits(self, images: Iterable[Tensor], ws: Tensor) -> list[FitReport]:
            return [FitReport(0.5, True, 0.7, 0.9, 0.01) for _ in ws]

    monkeypatch.setattr(samples, "Projector", MeanProjector)
    monkeypatch.setattr(tuned_face, "load_face_landmarks", landmarks)
    return MatrixGenerator()


def pictures(count: int) -> list[Any]:
    return [np.full((32, 32, 3), 40 * k + 20, np.uint8) for k in range(count)]


def test_a_likeness_says_how_many_steps_unless_they_are_given() -> None:
    for options, steps in (
        (EditOptions(), 0),
        (EditOptions(refine_steps=3), 3),
        (EditOptions(likeness="quick"), 0),
        (EditOptions(likeness="refined"), 50),
        (EditOptions(likeness="tuned"), 50),
        (EditOptions(likeness="tuned", refine_steps=0), 0),
    ):
        assert options.steps == steps
        assert options.as_json()["refine_steps"] == steps
        assert ("likeness" in options.as_json()) == (options.likeness == "tuned"), "older folders go on"
    for wrong, said in (
        ({"likeness": "good"}, "quick, refined, tuned"),
        ({"likeness": "quick", "refine_steps": 1}, "no"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            EditOptions(**wrong)


def test_auto_is_what_a_single_photo_gets_and_is_refused_for_more(faces: Any, yaw: Editor) -> None:
    options = EditOptions(likeness="auto", align=False)
    (photo,) = pictures(1)
    asked, usual = (deltafast.edit_batch(faces, photo, yaw, 0.1, one) for one in (options, EditOptions(align=False)))
    assert asked.images is not None
    assert usual.images is not None
    assert torch.equal(asked.images, usual.images)
    assert asked.carried == usual.carried
    for more in (
        lambda: deltafast.edit_batch(faces, pictures(2), yaw, 0.1, options),
        lambda: deltafast.edit_batch(faces, photo, yaw, 0.1, replace(options, face="all")),
        lambda: list(deltafast.edit_stream(faces, iter(pictures(2)), yaw, 0.1, options)),
    ):
        with pytest.raises(InvalidInputError, match="for one face of one photo"):
            more()


def test_tuned_photos_show_themselves_and_the_result_makes_its_images_again(
    faces: Any, yaw: Editor, tmp_path: Path
) -> None:
    given = pictures(3)
    options = EditOptions(likeness="tuned", refine_steps=0, align=False, batch_size=2)
    result = deltafast.edit_batch(faces, given, yaw, [[0.0, 0.1]], options)
    assert result.images is not None
    assert result.images.shape == (3, 2, 3, 4, 4)
    for picture, images in zip(given, result.images, strict=True):
        assert float((images[0] - (picture.mean() / 127.5 - 1)).abs().max()) < 0.02
    assert result.tuned is not None
    assert result.fits is not None
    assert result.warnings[0].startswith("face 0: the reconstruction looks like another person")
    again = result.tuned[1].synthesis(faces)(result.latents[1])
    assert torch.equal(again, result.images[1])
    result.tuned[1].save(tmp_path / "me.safetensors")
    of_file = deltafast.edit_batch(faces, tmp_path / "me.safetensors", yaw, [[0.0, 0.1]])
    assert of_file.images is not None
    assert torch.equal(of_file.images[0], result.images[1])
    streamed = list(deltafast.edit_stream(faces, iter(result.tuned), yaw, [[0.0, 0.1]], batch_size=2))
    assert len(streamed) == 3
    assert torch.equal(torch.cat([one.images for one in streamed if one.images is not None]), result.images)
    with pytest.raises(InvalidInputError, match="without one"):
        deltafast.edit_batch(faces, result.tuned, yaw, 1, replace(options, paste_back=True))


def test_by_is_read_off_the_pictures_that_carry_the_photo(
    faces: Any, yaw: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FirstPixel(AmountReader):
        def __init__(self, attributes: Sequence[str], device: object = "cpu") -> None:
            self.units = [UNITS[attribute] for attribute in attributes]

        def read(self, images: Tensor) -> Tensor:
            return 10 * images.flatten(1)[:, :1]

    monkeypatch.setattr(steering, "AmountReader", FirstPixel)
    options = EditOptions(likeness="tuned", refine_steps=0, align=False, by=[[0.0, 0.5]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", steering.UnreachedWarning)
        result = deltafast.edit_batch(faces, pictures(2), yaw, None, options)
        photos = AnimationPath(np.array([[0.0], [0.5]]))
        moving = list(Animator(faces, [yaw], photos, frames=2, options=options).animations(pictures(2)))
    assert result.reached is not None
    assert result.images is not None
    one = result.reached["yaw"]
    for k, picture in enumerate(pictures(2)):
        assert float(one.before[k]) == pytest.approx(10 * (picture.mean() / 127.5 - 1), abs=0.2), "the photo's own"
        torch.testing.assert_close(one.after[k], 10 * result.images[k, :, 0, 0, 0], atol=1e-4, rtol=0)
        assert moving[k].alphas[-1, 0] == pytest.approx(float(one.alpha[k, 1]), abs=1e-5)


def test_a_single_photo_is_tuned_unless_something_else_is_asked_for_or_no_mesh_is_seen_in_it(
    faces: Any, yaw: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photo,) = pictures(1)
    result = deltafast.edit_batch(faces, photo, yaw, 0.0, align=False)
    assert result.tuned is not None
    assert result.carried == [1.0]
    assert float(result.latents.mean()) > 4000, "refined by as many steps as the likeness has"
    for given, options in (([photo], {}), (photo, {"refine_steps": 1}), (photo, {"likeness": "quick"})):
        assert deltafast.edit_batch(faces, given, yaw, 0.0, align=False, **options).tuned is None
    (streamed,) = deltafast.edit_stream(faces, [photo], yaw, 0.0, align=False)
    assert streamed.tuned is None
    far = deltafast.edit_batch(faces, photo, yaw, 1e4, align=False)
    assert far.carried is not None
    assert far.carried[0] < 0.5
    assert any(f"{far.carried[0]:.0%} of the photo is carried" in line for line in far.warnings)
    monkeypatch.setattr(tuned_face, "load_face_landmarks", lambda: landmarks(presence=0.1))
    plain = deltafast.edit_batch(faces, photo, yaw, 0.0, align=False)
    assert (plain.tuned, plain.carried, plain.fits) == (None, [0.0], None)
    assert float(plain.latents.mean()) < 100, "a cat's photo is edited at once, as before"
    assert "no face mesh" in plain.warnings[0]


def test_other_likenesses_carry_nothing(faces: Any, yaw: Editor) -> None:
    for likeness, fits in (("quick", None), ("refined", 1)):
        result = deltafast.edit_batch(faces, pictures(1), yaw, 0.0, align=False, likeness=likeness)
        assert result.tuned is None
        assert (None if result.fits is None else len(result.fits)) == fits


def test_of_many_photos_one_is_in_memory_at_a_time(faces: Any, yaw: Editor, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[int] = []
    most = 0

    class Counted(tuned_face.CarriedPhoto):
        def __init__(self, *args: Any) -> None:
            nonlocal most
            super().__init__(*args)
            alive.append(1)
            most = max(most, len(alive))

        def __del__(self) -> None:
            alive.pop()

    monkeypatch.setattr(tuned_face, "CarriedPhoto", Counted)
    options = EditOptions(likeness="tuned", refine_steps=0, align=False)
    for result in deltafast.edit_stream(faces, iter(pictures(5)), yaw, 0.0, options):
        assert isinstance(result.tuned, list)
        assert all(isinstance(one, TunedFace) for one in result.tuned)
    assert most <= 2
