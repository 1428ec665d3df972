"""Methods are compared on the same faces at the same change: doing less, or fewer faces, wins nothing."""

from __future__ import annotations

import numpy as np
import pytest

from deltafast.errors import InvalidInputError
from deltafast.evaluation.change_search import IDENTITY_COSINE, IDENTITY_DISTANCE, ChangedFaces
from deltafast.evaluation.identity import between_faces, group_identity, identity_table
from deltafast.evaluation.leak import leak_table
from deltafast.evaluation.matched import LEAK, Matched, match_methods
from deltafast.evaluation.readings import Readings
from deltafast.evaluation.turn_floor import TURN_FLOOR
from deltafast.faces.attributes import MEASURES, TARGET_MEASURES

N = 40


def changed(
    cost: float, *, leak: float = 0.01, missing: int = 0, attribute: str = "yaw", changes: tuple[float, ...] = (10.0,)
) -> ChangedFaces:
    """A method that costs about `cost` of descriptor distance a face, and `missing` faces that it does not bring."""
    rng, target = np.random.default_rng(0), TARGET_MEASURES[attribute][0]
    shape = (N, 2, len(changes))
    unedited = Readings(
        {name: rng.normal(0.3, 0.05, N) for name in MEASURES}, np.zeros((N, 68, 2)), rng.normal(0, 0.06, (N, 128))
    )
    face = rng.uniform(0.5, 1.5, (N, 1, 1))  # some lose much, some little, whatever the method
    face /= face.mean()
    size = np.arange(1, len(changes) + 1)
    costs = {name: np.broadcast_to(leak * face, shape).copy() for name in MEASURES if name != target}
    costs[IDENTITY_DISTANCE] = np.broadcast_to(cost * face * size, shape).copy()
    costs[IDENTITY_COSINE] = 1 - costs[IDENTITY_DISTANCE] ** 2 / 2
    alpha = np.broadcast_to(np.array([-1.0, 1.0])[:, None], shape).copy()
    alpha[:missing] = np.nan
    for values in costs.values():
        values[:missing] = np.nan
    return ChangedFaces(attribute, changes, alpha, np.broadcast_to(changes, shape), costs, unedited, 0)


def matched_pair(ours: ChangedFaces, linear: ChangedFaces) -> Matched:
    """Ours beside LINEAR at the only change."""
    (found,) = match_methods({"ours": ours, "linear": linear}, "ours")
    return found


def test_costs_are_told_apart_face_by_face() -> None:
    found = matched_pair(changed(0.4, leak=0.04), changed(0.5, leak=0.01))
    assert found.faces_each_way == (N, N)
    identity, leak = identity_table(found, "ours"), leak_table(found, "ours")
    assert identity["linear"]["distance"]["mean"] == pytest.approx(0.5)
    assert identity["linear"]["ours_is"] == "better"
    assert leak["linear"]["mouth_width"]["ours_is"] == "worse"
    assert leak["linear"][LEAK]["ours_is"] == "worse"
    assert leak["linear"][LEAK]["ratio"]["mean"] == pytest.approx(4)  # the same share of every face: no doubt at all
    assert leak["linear"][LEAK]["ratio"]["high"] == pytest.approx(4)
    assert leak["ours"]["pitch"]["per_unit"]["mean"] == pytest.approx(0.04 / 10)
    total = sum(0.04 / found.spread[name] for name in MEASURES if name != "yaw")
    assert leak["ours"][LEAK]["per_unit"]["mean"] == pytest.approx(total * found.spread["yaw"] / 10)


def test_of_a_turn_only_what_is_lost_beyond_it_is_compared() -> None:
    floor = TURN_FLOOR["yaw"][10.0]
    row = identity_table(matched_pair(changed(0.4), changed(0.5)), "ours")["linear"]
    mean = row["distance"]["mean"]
    assert row["beyond"]["mean"] == pytest.approx(mean - floor)
    assert row["ratio"]["mean"] == pytest.approx((0.8 * mean - floor) / (mean - floor))
    smile = matched_pair(changed(0.4, attribute="smile"), changed(0.5, attribute="smile"))
    row = identity_table(smile, "ours")["linear"]
    assert row["beyond"] == row["distance"]
    assert row["ratio"]["mean"] == pytest.approx(0.8)
    nothing = identity_table(matched_pair(changed(0.1), changed(0.1)), "ours")["linear"]
    assert nothing["ratio"]["mean"] is None  # nothing is lost beyond the turn: there is no share of it


def test_the_same_faces_are_compared_whoever_brings_more() -> None:
    found = matched_pair(changed(0.4), changed(0.5, missing=5))
    assert found.faces_each_way == (N - 5, N - 5)
    assert found.brought == {"ours": 1.0, "linear": pytest.approx((N - 5) / N)}
    for method in found.methods:
        assert np.isnan(found.costs[method][IDENTITY_DISTANCE][:5]).all()
    assert identity_table(found, "ours")["ours"]["distance"]["n"] == N - 5


def test_a_method_that_brings_too_few_faces_is_left_out_and_named() -> None:
    found = matched_pair(changed(0.4), changed(0.1, missing=N // 2))
    assert found.methods == ("ours",)
    assert found.left_out == ("linear",)
    assert found.brought["linear"] == pytest.approx(0.5)
    assert found.faces_each_way == (N, N)
    idle = matched_pair(changed(0.4, missing=N), changed(0.4, missing=N))  # the reference itself: no face is compared
    assert idle.faces_each_way == (0, 0)
    assert identity_table(idle, "ours")["ours"]["distance"]["mean"] is None


def test_a_face_that_goes_only_one_way_is_compared_that_way() -> None:
    ours, linear = changed(0.4), changed(0.5)
    linear.alpha[0, 0] = np.nan
    found = matched_pair(ours, linear)
    assert found.faces_each_way == (N - 1, N)
    assert found.costs["ours"][IDENTITY_DISTANCE][0] == pytest.approx(ours.costs[IDENTITY_DISTANCE][0, 1, 0])


def test_groups_average_attributes_and_changes() -> None:
    two = match_methods(
        {"ours": changed(0.2, changes=(10.0, 20.0)), "linear": changed(0.3, changes=(10.0, 20.0))}, "ours"
    )
    other = match_methods({"ours": changed(0.6)}, "ours")
    mean = identity_table(two[0], "ours")["ours"]["distance"]["mean"] / 0.2
    assert group_identity([*two, *other], "ours")["distance"]["mean"] == pytest.approx((0.2 + 0.4 + 0.6) / 3 * mean)
    assert group_identity([*two, *other], "linear") is None
    assert group_identity([], "ours") is None


def test_only_the_same_attribute_changes_and_faces_are_compared() -> None:
    for other in (changed(0.1, attribute="smile"), changed(0.1, changes=(20.0,))):
        with pytest.raises(InvalidInputError, match="same attribute"):
            matched_pair(changed(0.1), other)


def test_distances_between_faces() -> None:
    descriptors = np.zeros((4, 128))
    descriptors[0, 0], descriptors[1, 0], descriptors[2, 0] = 1, 2, 4
    descriptors[3] = np.nan
    found = between_faces(descriptors)
    assert found["mean"] == pytest.approx((1 + 3 + 2) / 3)
    assert found["least"] == pytest.approx(1)
    assert found["cosine_mean"] == pytest.approx(1)
    assert between_faces(descriptors[:1]) == {}
