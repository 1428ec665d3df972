"""Moving pictures: a path at constant speed in the attribute, there and back without a frame shown twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matrix_generator import C, L, MatrixGenerator, train
from test_asked_amounts import FlatReader
from torch import Tensor

import deltafast
from deltafast.editing import EditOptions, steering
from deltafast.editing.animation import AnimationPath, animate
from deltafast.editing.named_ways import named_ways
from deltafast.errors import InvalidInputError


class BentGenerator(MatrixGenerator):
    """Shows in its first pixel how far a latent was moved along its first component, ever less the farther it goes."""

    def synthesis(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        """ws `[N, L, C]` to images `[N, 3, 4, 4]`."""
        images = super().synthesis(ws, noise_mode).clamp(-1, 1)
        images[:, 0, 0, 0] = torch.tanh(ws[:, 0, 0])
        return images


@pytest.fixture
def generator() -> BentGenerator:
    return BentGenerator()


@pytest.fixture
def along() -> deltafast.LinearEditor:
    """A direction of the attribute yaw: α is added to the first component of the first slot."""
    from deltafast.delta.direction import DirectionEditor

    direction = torch.zeros(L, C)
    direction[0, 0] = 1
    return DirectionEditor("yaw", direction)  # type: ignore[return-value]


@pytest.mark.parametrize("there_and_back", [True, False])
def test_a_path_is_walked_at_one_speed_and_no_frame_is_shown_twice_in_turn(there_and_back: bool) -> None:
    path = AnimationPath(np.array([[0.0], [20.0], [-20.0], [10.0]]), there_and_back)
    amounts = path.at(path.frame_places(91))[:, 0]
    assert len(amounts) == (92 if there_and_back else 91)
    steps = np.abs(np.diff(amounts))
    whole = steps > 0.999 * steps.max()
    assert whole.mean() > 0.9  # all but those across a corner of the path
    assert np.ptp(steps[whole]) < 1e-9
    assert amounts[0] == 0
    assert amounts[46 if there_and_back else -1] == 10
    if there_and_back:
        assert abs(amounts[-1] - amounts[0]) == pytest.approx(steps.max())  # the next frame is the first one again
        assert steps[45] == pytest.approx(steps.max())
        assert steps[46] == pytest.approx(steps.max())


def test_of_several_editors_the_one_with_the_longest_way_counts() -> None:
    path = AnimationPath(np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 0.1], [0.0, 0.0]]), there_and_back=False)
    np.testing.assert_allclose(path.places(), [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(path.at(np.array([0.5])), [[10.0, 0.05]])


def test_a_turn_by_degrees_runs_at_constant_speed_in_degrees_where_alpha_would_not(
    generator: BentGenerator, along: deltafast.LinearEditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "AmountReader", FlatReader)
    ws = torch.zeros(2, L, C)
    ws[1, 0, 0] = 0.2
    both = animate(generator, ws, along, by=[-7.5, 7], frames=24, options=EditOptions(batch_size=5))  # type: ignore[arg-type]
    assert len(both) == 2
    for one in both:
        assert one.frames.shape == (24, 4, 4, 3)
        assert one.frames.dtype == np.uint8
        shown = (one.frames[:, 0, 0, 0] / 127.5 - 1) * 10  # the reading
        asked = one.amounts[:, 0]
        np.testing.assert_allclose(shown - shown[asked.argmin()], asked - asked.min(), atol=0.6)  # half a degree
        speed = np.abs(np.diff(one.alphas[:, 0]))
        assert speed.max() > 1.3 * speed.min()  # α had to run faster where the picture follows less
    assert np.abs(both[0].alphas - both[1].alphas).max() > 0.05  # each face has its own way


def test_alpha_is_taken_as_it_is_and_each_frame_is_made_once(generator: BentGenerator) -> None:
    editor = train("yaw", (0, 1), generator)
    (one,) = animate(generator, torch.zeros(1, L, C), editor, [0, 1], frames=10, options=EditOptions(batch_size=4))  # type: ignore[arg-type]
    np.testing.assert_allclose(one.alphas, one.amounts)
    np.testing.assert_allclose(one.alphas[:, 0], [0, 0.2, 0.4, 0.6, 0.8, 1, 0.8, 0.6, 0.4, 0.2], atol=1e-6)
    assert sum(generator.batches) == 6
    alone = deltafast.edit_batch(generator, torch.zeros(1, L, C), editor, 0.4, output="uint8")  # type: ignore[arg-type]
    assert alone.images is not None
    np.testing.assert_array_equal(one.frames[2], alone.images[0].permute(1, 2, 0).numpy())


def test_a_file_of_an_editor_is_said_by_its_attribute_not_by_where_it_lies(
    generator: BentGenerator, tmp_path: Path
) -> None:
    train("yaw", (0, 1), generator).save(tmp_path / "annas-secret.safetensors")
    ws = torch.zeros(1, L, C)
    (one,) = animate(generator, ws, str(tmp_path / "annas-secret.safetensors"), [0, 1], frames=2)  # type: ignore[arg-type]
    assert one.provenance.edits == [{"attribute": "yaw", "alpha": [0.0, 1.0]}]
    assert not one.provenance.composite


def test_two_editors_have_a_way_each_or_one_that_stays(generator: BentGenerator) -> None:
    editors = [train("yaw", (0, 1), generator), train("smile", (2,), generator)]
    ways = [[0.0, 1.0, 0.0], 0.5]
    (one,) = animate(generator, torch.zeros(1, L, C), editors, ways, frames=5, there_and_back=False)  # type: ignore[arg-type]
    np.testing.assert_allclose(one.amounts, [[0, 0.5], [0.5, 0.5], [1, 0.5], [0.5, 0.5], [0, 0.5]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "none of them is given"),
        ({"alpha": [0, 1], "by": [0, 1]}, "alpha and by is given"),
        ({"alpha": [1]}, "at least two amounts"),
        ({"alpha": [1, 1]}, "lead somewhere"),
        ({"alpha": [0, float("nan")]}, "all finite"),
        ({"alpha": ["a", "b"]}, "is numbers"),
        ({"alpha": [0, 1], "frames": 1}, "frames"),
        ({"alpha": [0, 1], "size": 3}, "size"),
        ({"alpha": [0, 1], "raw": True}, "no raw"),
    ],
)
def test_what_is_no_path_is_refused(generator: BentGenerator, arguments: dict[str, object], message: str) -> None:
    editor = train("yaw", (0,), generator)
    with pytest.raises(InvalidInputError, match=message):
        animate(generator, torch.zeros(1, L, C), editor, **arguments)  # type: ignore[arg-type]


def test_ways_are_read_as_they_are_typed() -> None:
    ways = named_ways(["yaw=by-20,0,20", "smile=by0.1"], {})
    assert ways.word == "by"
    assert [one.name for one in ways.editors] == ["yaw", "smile"]
    np.testing.assert_allclose(ways.keys, [[-20, 0.1], [0, 0.1], [20, 0.1]])
    np.testing.assert_allclose(named_ways(["yaw", "smile=0,1"], {"alpha": [-1, 1]}).keys, [[-1, 0], [1, 1]])


@pytest.mark.parametrize(
    ("texts", "given", "message"),
    [
        (["yaw"], {}, "which way to go"),
        (["yaw=by1,2", "smile=to1,2"], {}, "cannot be mixed"),
        (["yaw=by1,2"], {"by": [1.0, 2.0]}, "each of these has one"),
        (["yaw=by1,2", "smile"], {}, "smile has no way"),
        (["yaw=by1,2,3", "smile=by1,2"], {}, "give as many, or one"),
        (["yaw=by1,two"], {}, "as in yaw=by-20,20"),
    ],
)
def test_ways_that_cannot_be_are_named(texts: list[str], given: dict[str, list[float]], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        named_ways(texts, given)


def test_a_photo_moves_in_its_place(mobilestylegan: deltafast.Generator) -> None:
    astronaut = pytest.importorskip("skimage.data").astronaut()
    options = EditOptions(paste_back=True, likeness="quick")
    (one,) = animate(mobilestylegan, astronaut, "smile", [0, 1], options, frames=2, size=128, there_and_back=False)
    assert one.frames.shape[0] == 2
    assert max(one.frames.shape[1:3]) == 128
    changed = np.abs(one.frames[1].astype(int) - one.frames[0]).max(2) > 8
    assert 0.002 < changed.mean() < 0.2
    assert not changed[:10].any()  # far from the face nothing moves
