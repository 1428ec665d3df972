"""Each face is brought to the change that was asked for, and what it costs there is what it costs at exactly that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from deltafast.evaluation.change_search import IDENTITY_COSINE, IDENTITY_DISTANCE, ChangedFaces, search_changes
from deltafast.evaluation.changes import CHANGE_AT_ONE, MATCHED_CHANGES, READING_DEVIATION, near_enough
from deltafast.evaluation.readings import Readings
from deltafast.faces.attributes import MEASURES, TARGET_MEASURES

N = 30


class Turning:
    """Edits latents `[N, 1, 2]` of (face, turn): alpha is added to the turn."""

    attribute, slots = "yaw", (0,)

    def edit(self, ws: Tensor, alpha: float, **_: Any) -> Tensor:
        """Add alpha."""
        return ws + torch.tensor([0.0, alpha])


class Known:
    """Reads off latents what their pictures would show: a yaw of `gain` degrees a turn for the face, and more.

    `bend`: how the yaw bends; faces whose number is in `stuck` turn by at most 12 degrees, those in `lost` cannot be
    found beyond a turn of 1.4.
    """

    def __init__(self, bend: float = 0.1, stuck: tuple[int, ...] = (), lost: tuple[int, ...] = ()) -> None:
        self.bend, self.stuck, self.lost = bend, stuck, lost
        self.asked: list[bytes] = []

    def read(self, latents: Tensor, *_: Any, **__: Any) -> Readings:
        """Return the readings."""
        self.asked += [row.numpy().tobytes() for row in latents]
        face, turn = latents[:, 0].double().numpy().T
        gain = 10.0 * (0.7 + 0.6 * face / N)
        change = gain * (turn + self.bend * turn * np.abs(turn))
        change = np.where(np.isin(face, self.stuck), np.clip(change, -12, 12), change)
        measures = {name: 0.3 + 0.01 * np.abs(turn) for name in MEASURES} | {"yaw": face - 10 + change}
        descriptors = np.zeros((len(face), 128))
        descriptors[:, 0], descriptors[:, 1] = 1.0, 0.2 * np.abs(turn)
        away = np.isin(face, self.lost) & (np.abs(turn) > 1.4)
        descriptors[away] = np.nan
        return Readings(
            {name: np.where(away, np.nan, values) for name, values in measures.items()},
            np.zeros((len(face), 68, 2)),
            descriptors,
        )


def search(reader: Known, faces: int = N, changes: tuple[float, ...] = (10.0, 20.0, 30.0)) -> ChangedFaces:
    """Turn the first faces."""
    latents = torch.stack([torch.arange(faces).float(), torch.zeros(faces)], dim=1)[:, None]  # [N, 1, 2]
    return search_changes(reader, Turning(), "yaw", latents, changes, 10.0)  # type: ignore[arg-type]


def test_costs_are_those_at_the_change_itself() -> None:
    reader = Known()
    found = search(reader)
    assert found.brought.all()
    off = np.abs(found.read - np.array(found.changes))
    assert (off <= 0.15 * np.array(found.changes)).all()
    assert off.mean() > 0.05  # readings are near the change, not at it
    gain = 10.0 * (0.7 + 0.6 * np.arange(N) / N)[:, None, None]
    turn = (np.sqrt(1 + 0.4 * np.array(found.changes) / gain) - 1) / 0.2  # [N, 1, 3], what the change takes
    for name, each in ((IDENTITY_DISTANCE, 0.2), ("pitch", 0.01)):
        share = found.costs[name] / (each * turn)  # [N, 2, 3]
        np.testing.assert_allclose(share, 1, atol=0.02)
        np.testing.assert_allclose(share.mean(axis=(0, 1)), 1, atol=0.005)
    assert (np.diff(found.costs[IDENTITY_COSINE], axis=2) < 0).all()
    assert (np.sign(found.alpha[:, 0]) == -1).all()
    assert (np.sign(found.alpha[:, 1]) == 1).all()
    assert found.readings_made == len(reader.asked) - N
    assert found.readings_made < 2 * 3 * N * 1.7


def test_faces_that_cannot_be_brought_there_are_told_after_few_readings() -> None:
    reader = Known(bend=0.0, stuck=(3,), lost=(5,))
    found = search(reader)
    brought = found.brought
    assert brought[3].tolist() == [[True, False, False]] * 2
    assert brought[5].tolist() == [[True, False, False]] * 2
    assert brought[[k for k in range(N) if k not in (3, 5)]].all()
    for cost in found.costs.values():
        assert np.isnan(cost[3, :, 1:]).all()
    per_face = {row: sum(asked[:4] == np.float32(row).tobytes() for asked in reader.asked) for row in (3, 5)}
    assert max(per_face.values()) <= 1 + 2 * 3 * 4


def test_what_is_asked_of_a_face_does_not_depend_on_the_others() -> None:
    many, few = Known(), Known()
    search(many)
    search(few, faces=7)
    assert set(few.asked) < set(many.asked)
    again = Known()
    search(again)
    assert again.asked == many.asked


def test_an_edit_that_moves_nothing_is_not_tried() -> None:
    reader = Known()
    latents = torch.zeros(2, 1, 2)
    for idle in (0.0, -3.0, float("nan")):
        found = search_changes(reader, Turning(), "yaw", latents, (10.0,), idle)  # type: ignore[arg-type]
        assert found.readings_made == 0
        assert not found.brought.any()


def test_a_change_that_a_reading_met_on_the_way_is_not_read_again() -> None:
    one, two = Known(), Known()
    search(one, changes=(10.0, 20.0))
    search(two, changes=(10.0, 10.4, 20.0))
    assert len(two.asked) < 1.25 * len(one.asked)


def test_every_attribute_has_its_changes_and_near_is_a_share_or_the_noise() -> None:
    assert set(MATCHED_CHANGES) == set(CHANGE_AT_ONE) == set(TARGET_MEASURES)
    assert set(READING_DEVIATION) == set(MEASURES)
    assert near_enough("yaw", 20) == pytest.approx(3)
    assert near_enough("smile", 0.032) == READING_DEVIATION["mouth_width"]
    for changes in MATCHED_CHANGES.values():
        assert list(changes) == sorted(changes)
