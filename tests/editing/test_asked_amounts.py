"""by= and to=: α is corrected until the image shows what was asked for, and what was reached is said."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matrix_generator import C, L, MatrixGenerator, train
from torch import Tensor

import deltafast
from deltafast.delta import Editor, LinearEditor, load_editor
from deltafast.delta.amounts import UNITS, AmountReader
from deltafast.editing import EditSession, UnreachedWarning, steering
from deltafast.editing.steering import Steering
from deltafast.errors import InvalidInputError
from deltafast.generators.base import Generator
from deltafast.generators.seeds import latents_from_seeds


class FlatReader(AmountReader):
    """Takes the first pixels of an image for the readings: 10 for 1 in a matrix generator's."""

    def __init__(self, attributes: Sequence[str], device: object = "cpu") -> None:
        self.units = [UNITS[attribute] for attribute in attributes]

    def read(self, images: Tensor) -> Tensor:
        return 10 * images.flatten(1)[:, : len(self.units)]


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "AmountReader", FlatReader)


class Faces:
    """Faces whose readings follow α by a curve; it counts the images it is asked for."""

    def __init__(self, curve: Any) -> None:
        self.curve = curve
        self.images = 0

    def __call__(self, ws: Tensor, alphas: Tensor) -> Iterator[Tensor]:
        self.images += len(ws)
        yield self.curve(ws.flatten(1), alphas) / 10


BASE = torch.tensor([-12.0, -0.1, 3.0, 8.0])[:, None, None]  # [M, 1, 1]: what four faces show


def bent(base: Tensor, alphas: Tensor) -> Tensor:
    return base + (14 + base / 2) * alphas / (1 + 0.3 * alphas.abs())  # 8 to 18 a unit of α, and ever less


@pytest.mark.usefixtures("flat")
def test_every_face_gets_to_each_amount_of_a_sweep_in_a_few_images() -> None:
    faces = Faces(bent)
    amounts = torch.tensor([[-5.0, 0.0, 12.0]]).expand(4, 3)[..., None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alphas, reached = Steering(["yaw"], [False], False, "cpu").find(BASE, amounts, faces, 0)
    one = reached["yaw"]
    assert (one.after - (BASE[:, :, 0] + amounts[..., 0])).abs().max() <= 1.0
    torch.testing.assert_close(
        one.after, bent(BASE.expand(4, 3, 1).reshape(-1, 1), alphas.reshape(-1, 1)).reshape(4, 3)
    )
    assert one.there.all()
    assert one.unit == "degree"
    assert not alphas[:, 1].any()  # by 0 is nothing at all
    assert faces.images <= 4 * 2 + 8 * 4


@pytest.mark.usefixtures("flat")
def test_a_face_that_is_there_already_is_not_touched_and_costs_one_image() -> None:
    faces = Faces(bent)
    alphas, reached = Steering(["yaw"], [False], True, "cpu").find(BASE[1:2], torch.zeros(1, 1, 1), faces, 0)
    assert not alphas.any()
    assert faces.images == 1
    assert float(reached["yaw"].after[0, 0]) == pytest.approx(-0.1)


@pytest.mark.usefixtures("flat")
def test_editors_that_move_each_others_reading_get_there_together() -> None:
    def dragged(base: Tensor, alphas: Tensor) -> Tensor:
        yaw, pitch = alphas[:, 0], alphas[:, 1]
        return torch.stack([base[:, 0] + 10 * yaw + 4 * pitch, -6 * pitch + 3 * yaw + 0.5 * pitch.square()], 1)

    amounts = torch.tensor([[[8.0, -5.0]]]).expand(4, 1, 2)
    _, reached = Steering(["yaw", "pitch"], [False] * 2, False, "cpu").find(BASE, amounts, Faces(dragged), 0)
    assert reached["yaw"].there.all()
    assert reached["pitch"].there.all()
    torch.testing.assert_close(reached["pitch"].after, torch.full((4, 1), -5.0), atol=0.3, rtol=0)


@pytest.mark.usefixtures("flat")
def test_a_generator_that_does_not_get_there_is_said_and_the_nearest_is_kept() -> None:
    faces = Faces(lambda base, alphas: base + 20 * torch.tanh(alphas))
    with pytest.warns(UnreachedWarning, match=r"yaw: 3 of 4 edits .*; sample 10 shows .* \(degree\) of 27.5, from -12"):
        alphas, reached = Steering(["yaw"], [True], True, "cpu").find(BASE, torch.full((4, 1, 1), 27.5), faces, 10)
    assert reached["yaw"].there[:, 0].tolist() == [False, False, False, True]
    assert (reached["yaw"].after[:3, 0] > BASE[:3, 0, 0] + 19).all()  # as far as it goes
    assert alphas.abs().max() <= 8


@pytest.mark.usefixtures("flat")
def test_where_no_face_is_seen_nothing_is_done_and_it_is_said() -> None:
    def partly(base: Tensor, alphas: Tensor) -> Tensor:
        return torch.where(base < -10, torch.nan, base + 10 * alphas)

    with pytest.warns(UnreachedWarning, match="yaw: 1 of 4 images show no face to read it off, first 0"):
        alphas, reached = Steering(["yaw"], [True], False, "cpu").find(
            BASE, torch.full((4, 1, 1), 5.0), Faces(partly), 0
        )
    assert alphas[0].item() == 0
    assert math.isnan(reached["yaw"].before[0])
    assert reached["yaw"].there[:, 0].tolist() == [False, True, True, True]


@pytest.mark.usefixtures("flat")
def test_of_light_by_is_a_factor_and_to_a_ratio() -> None:
    lit = Faces(lambda base, alphas: base / 10 + 0.7 * alphas)
    for absolute, amount, wanted in ((False, 2.0, 2 * (BASE[:, 0, 0] / 10).exp()), (True, 1.0, torch.ones(4))):
        _, reached = Steering(["light"], [True], absolute, "cpu").find(BASE, torch.full((4, 1, 1), amount), lit, 0)
        torch.testing.assert_close(reached["light"].wanted[:, 0], wanted)
        assert ((reached["light"].after[:, 0] / wanted).log().abs() <= 0.05).all()


# ---- through edit_batch ----------------------------------------------------------------------------------------------


@pytest.fixture
def ws() -> Tensor:
    return torch.randn(5, L, C, generator=torch.Generator().manual_seed(7))


@pytest.mark.usefixtures("flat")
@pytest.mark.filterwarnings("ignore::deltafast.editing.UnreachedWarning")
def test_amounts_come_in_every_form_of_alpha(generator: Any, yaw: Editor, ws: Tensor) -> None:
    before = FlatReader(["yaw"]).read(generator.synthesis(ws))[:, 0]
    each = torch.tensor([0.5, 0.0, 1.0, -1.0, 2.0])
    for by, wanted in ((2, before + 2), (each, before + each)):
        result = deltafast.edit_batch(generator, ws, yaw, by=by, batch_size=2)
        assert result.reached is not None
        one = result.reached["yaw"]
        torch.testing.assert_close(one.before, before)
        torch.testing.assert_close(one.wanted, wanted)
        torch.testing.assert_close(one.after, FlatReader(["yaw"]).read(result.images)[:, 0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(result.latents, yaw.edit(ws, one.alpha), rtol=1e-4, atol=1e-4)
        assert (one.after - wanted)[one.there].abs().max() <= 1
    sweep = deltafast.edit_batch(generator, ws, yaw, to=[[0.0, 4.0]], batch_size=4)
    assert sweep.images is not None
    assert sweep.images.shape[:2] == (5, 2)
    assert sweep.reached is not None
    assert torch.equal(sweep.reached["yaw"].wanted, torch.tensor([[0.0, 4.0]]).expand(5, 2))
    pieces = list(deltafast.edit_stream(generator, iter(ws), yaw, to=[0.0, 4.0], batch_size=4))
    assert [len(piece.reached["yaw"].after) for piece in pieces if piece.reached] == [2, 2, 1]
    both = deltafast.edit_batch(generator, ws, [yaw, train("pitch", (3, 4), generator)], by=[1.5, [[0.0, 1.0]]])
    assert both.reached is not None
    assert set(both.reached) == {"yaw", "pitch"}
    assert both.reached["pitch"].after.shape == (5, 2)


@pytest.mark.usefixtures("flat")
def test_exactly_one_of_alpha_by_and_to_is_given(generator: Any, yaw: Editor, ws: Tensor) -> None:
    for wrong, text in (
        ({}, "give one of alpha, by and to; none of them is given"),
        ({"alpha": 1, "by": 15}, "alpha and by is given"),
        ({"alpha": 0, "to": 0}, "alpha and to is given"),
        ({"by": 1, "to": 0}, "by and to are given"),
        ({"by": 1, "raw": True}, "raw edit leaps"),
        ({"by": "far"}, "by must be a number"),
        ({"to": float("nan")}, "to holds NaN"),
        ({"by": [[1.0], [2.0]]}, "by must be .*; got shape"),
    ):
        with pytest.raises(InvalidInputError, match=text):
            deltafast.edit_batch(generator, ws, yaw, **wrong)
    with pytest.raises(InvalidInputError, match="2 editors, but 1 values of by"):
        deltafast.edit_batch(generator, ws, [yaw, yaw], by=[1])


def test_what_no_picture_tells_is_refused_by_name(generator: Any, yaw: Editor, ws: Tensor) -> None:
    age = train("age", (0,), generator)
    with pytest.raises(InvalidInputError, match=r"known for yaw, pitch, .*; not for 'age'"):
        deltafast.edit_batch(generator, ws, age, by=10)
    with pytest.raises(InvalidInputError, match="different attributes, got yaw, yaw"):
        EditSession(generator, [yaw, yaw], options=deltafast.EditOptions(to=[0, 0]))


@pytest.mark.usefixtures("flat")
def test_a_ratio_is_above_zero(ws: Tensor) -> None:
    generator = MatrixGenerator()
    with pytest.raises(InvalidInputError, match="light is a ratio of light, right cheek to left, above 0; got -1"):
        deltafast.edit_stream(generator, ws, train("light", (0, 1), generator), to=-1)


@pytest.mark.usefixtures("loss_networks")
def test_a_sampled_face_is_turned_by_degrees_by_jumps_and_by_a_direction_of_others(
    mobilestylegan: Generator, tmp_path: Path
) -> None:
    ws = latents_from_seeds(mobilestylegan, (1000,), 0.7)
    np.save(tmp_path / "yaw.npy", LinearEditor.of(load_editor("yaw")).direction.numpy())
    options = {"synthesise": False, "output": "uint8"}
    turned = deltafast.edit_batch(mobilestylegan, ws, "yaw", by=10, **options)
    assert turned.images is None
    assert turned.reached is not None
    one = turned.reached["yaw"]
    assert abs(float(one.after - one.before) - 10) <= 1
    shown = AmountReader(["yaw"]).read(mobilestylegan.synthesis(turned.latents))
    assert float(shown) == pytest.approx(float(one.after), abs=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = deltafast.edit_batch(mobilestylegan, turned.latents, tmp_path / "yaw.npy", to=0, **options)
    assert back.reached is not None
    assert abs(float(back.reached["yaw"].after)) <= 1
