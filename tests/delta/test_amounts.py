"""Units and ranges of editors: what by and to mean, how far an editor was seen to hold, and who looks."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from deltafast.delta import Editor, measured_range
from deltafast.delta.amounts import UNITS, UNREAD, AmountReader, reduced
from deltafast.delta.measured_range import holds_until, measure_range
from deltafast.face_networks.landmarks import load_face_landmarks
from deltafast.face_networks.measures import FACE_MEASURES, FaceMeasures
from deltafast.faces.true_degrees import DEGREES_READ, true_angle
from deltafast.generators.base import Generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.sequence_latents import SequenceLatents
from deltafast.synthetic import ATTRIBUTES


def test_every_attribute_that_is_rendered_has_a_unit_of_its_own_or_is_said_to_have_none() -> None:
    assert set(UNITS) == set(ATTRIBUTES) - UNREAD
    assert len({unit.measure for unit in UNITS.values()}) == len(UNITS)
    assert all(unit.measure in FACE_MEASURES for unit in UNITS.values())


@pytest.mark.usefixtures("loss_networks")
def test_readings_are_true_degrees_of_the_network_that_trains_and_nan_without_a_face(
    mobilestylegan: Generator,
) -> None:
    reader = AmountReader(["yaw", "pitch", "light"])
    faces = reduced(mobilestylegan.synthesis(latents_from_seeds(mobilestylegan, (1000, 1001), 0.7)))
    images = torch.cat([faces, torch.zeros_like(faces[:1])])
    found = reader.read(images)
    assert found[2].isnan().all()
    with torch.no_grad():
        measures = FaceMeasures(load_face_landmarks())(faces)
    raw = measures[:, [FACE_MEASURES.index(name) for name in ("yaw", "pitch", "shading")]]
    for column, axis in enumerate(("yaw", "pitch")):
        expected = [true_angle("mesh", axis, float(one)) for one in raw[:, column]]
        torch.testing.assert_close(found[:2, column], torch.tensor(expected))
    assert DEGREES_READ["mesh"]["pitch"] < 0  # the mesh's own pitch is positive downwards, an editor's upwards
    torch.testing.assert_close(reader.said(found)[:2, 2], raw[:, 2].exp())
    torch.testing.assert_close(reader.scaled(reader.said(found))[:2], found[:2])


def test_a_range_ends_where_faces_turn_back_or_hardly_move_on() -> None:
    steady = torch.arange(7.0).repeat(10, 1)
    assert holds_until(steady) == holds_until(-steady) == 6
    slowing = torch.tensor([0, 1, 2, 2.6, 3.0, 3.4, 3.8]).repeat(10, 1)  # from the third step on less than half
    assert holds_until(slowing) == 3
    turning = steady.clone()
    turning[:2, 5:] = 0.0  # two of ten faces
    assert holds_until(turning) == 4
    turning[1] = steady[1]  # one of ten
    assert holds_until(turning) == 6
    assert holds_until(torch.zeros(10, 4)) == 0


class _Turning:
    """A generator whose images are the latents, and a reader that sees slot 0 turn its faces, by 25 degrees at most."""

    device = torch.device("cpu")

    def __init__(self, faces: torch.Tensor, direction: torch.Tensor) -> None:
        self._faces = faces
        self._direction = direction
        self.looks = 0

    def synthesis(self, ws: torch.Tensor) -> torch.Tensor:
        return ws

    def read(self, images: torch.Tensor) -> torch.Tensor:
        assert len(images) == 1
        moved = (images - self._faces[self.looks % len(self._faces)])[:, 0] @ self._direction  # [1]: α, about
        self.looks += 1
        return (20 * moved).clamp(-25.0, 25.0)[:, None]

    def said(self, readings: torch.Tensor) -> torch.Tensor:
        return readings


def test_an_editor_is_told_how_far_it_was_seen_to_hold(
    editor: Editor, sequences: SequenceLatents, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = sequences.stack("yaw")[:, 2]  # [6, num_ws, w_dim]
    move = (editor.edit(ws, 1.0) - ws)[:, 0].mean(0)
    seen = _Turning(ws, move / move.square().sum())
    monkeypatch.setattr(measured_range, "AmountReader", lambda *_: seen)
    held = measure_range(editor, seen, ws)  # type: ignore[arg-type]
    assert held is not None
    assert held["unit"] == "degree"
    assert held["faces"] == 6
    assert held["alpha"][0] < -0.5 < 0.5 < held["alpha"][1] < 2
    for by in held["by"]:
        assert abs(by) == pytest.approx(25, rel=0.35)
    assert seen.looks < 6 * 25  # where faces do not move on it looks no further
    trained = copy.copy(editor)
    trained.info = replace(editor.info, attribute="age")
    assert measure_range(trained, seen, ws) is None  # type: ignore[arg-type]
