"""The comparison of editors finds the change, the costs and the verdict that are in the readings."""

from __future__ import annotations

import numpy as np
import pytest

from deltafast.errors import InvalidInputError
from deltafast.evaluation.attributes import MEASURES
from deltafast.evaluation.edit_quality import (
    ALPHAS,
    EditCurves,
    between_faces,
    compare_at_matched_change,
    extend_weaker,
    summarise,
)
from deltafast.evaluation.readings import Readings

N = 40


def curves(
    gain: float, cost: float, *, leak: float = 0.0, alphas: tuple[float, ...] = ALPHAS, attribute: str = "yaw"
) -> EditCurves:
    """An editor of yaw: `gain` degrees, `cost` of descriptor distance and `leak` of mouth width for each alpha."""
    rng = np.random.default_rng(0)
    alpha = np.array(alphas)
    measures = {name: rng.normal(0.3, 0.05, N)[:, None] + 0 * alpha for name in MEASURES}
    measures["yaw"] = rng.normal(0, 12, N)[:, None] + gain * rng.uniform(0.8, 1.2, N)[:, None] * alpha
    measures["mouth_width"] = measures["mouth_width"] + leak * alpha
    descriptors = np.repeat(rng.normal(0, 0.06, (N, 1, 128)), len(alpha), axis=1)  # [N, K, 128]
    descriptors[:, :, 0] += cost * np.abs(alpha)
    return EditCurves(attribute, alphas, Readings(measures, np.zeros((N, len(alpha), 68, 2)), descriptors))


def test_the_figures_of_an_editor_are_those_put_in() -> None:
    figures = summarise(curves(12.0, 0.2, leak=0.03))
    assert figures["measure"] == "yaw"
    assert figures["monotone_share"] == 1
    assert figures["total_change"]["mean"] == pytest.approx(24, rel=0.05)
    assert figures["total_change"]["low"] < figures["total_change"]["mean"] < figures["total_change"]["high"]
    assert figures["r2"]["mean"] == pytest.approx(1)
    assert figures["identity_distance"] == pytest.approx([0.2, 0.1, 0, 0.1, 0.2])
    assert figures["identity_distance_at_1"]["mean"] == pytest.approx(0.2)
    assert figures["leak"]["mouth_width"]["total_change"]["mean"] == pytest.approx(0.06)
    assert figures["leak"]["mouth_width"]["per_unit_of_target"] == pytest.approx(0.06 / 24, rel=0.05)
    assert figures["leak"]["pitch"]["per_unit_of_target"] == pytest.approx(0, abs=1e-12)


def test_an_editor_that_goes_the_wrong_way_is_not_monotone() -> None:
    figures = summarise(curves(-12.0, 0.2))
    assert figures["monotone_share"] == 0
    assert figures["total_change"]["mean"] < 0


def test_a_stronger_editor_is_not_worse_for_being_stronger() -> None:
    # the same path, twice as fast: at equal change the costs are equal
    strong, weak = curves(20.0, 0.3, leak=0.04), curves(10.0, 0.15, leak=0.02)
    compared = compare_at_matched_change(strong, weak)
    assert compared["target_change"]["mean"] == pytest.approx(10, rel=0.05)
    for name in ("identity_distance", "mouth_width", "leak"):
        assert compared["costs"][name]["difference"]["mean"] == pytest.approx(0, abs=1e-9)
    assert compared["costs"]["identity_distance"]["verdict"] == "equal"


def test_costs_at_matched_change_are_told_apart() -> None:
    compared = compare_at_matched_change(curves(12.0, 0.2, leak=0.04), curves(12.0, 0.25, leak=0.01))
    assert compared["costs"]["identity_distance"]["ours"]["mean"] == pytest.approx(0.2)
    assert compared["costs"]["identity_distance"]["theirs"]["mean"] == pytest.approx(0.25)
    assert compared["costs"]["identity_distance"]["verdict"] == "better"
    assert compared["costs"]["mouth_width"]["verdict"] == "worse"
    assert compared["costs"]["leak"]["verdict"] == "worse"
    assert compared["faces_matched_each_way"] == [N, N]


def test_an_editor_that_does_nothing_is_not_compared() -> None:
    compared = compare_at_matched_change(curves(12.0, 0.2), curves(0.0, 0.0))
    assert compared["faces_matched_each_way"] == [0, 0]
    assert compared["costs"]["identity_distance"]["difference"]["mean"] is None
    assert compared["costs"]["identity_distance"]["verdict"] == "equal"


def test_the_weaker_editor_is_read_further_until_it_reaches_as_far() -> None:
    strong, weak = curves(20.0, 0.3), curves(12.0, 0.15)
    assert extend_weaker(strong, weak) == ((), (-1.5, 1.5))
    further = curves(12.0, 0.15, alphas=(-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0))
    joined = further.at((-1.0, -0.5, 0.0, 0.5, 1.0)).joined(further.at((-1.5, 1.5)))
    assert joined.alphas == (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
    np.testing.assert_allclose(joined.target(), further.target()[:, 1:-1])
    assert extend_weaker(strong, joined) == ((), (-2.0, 2.0))
    assert extend_weaker(strong, further) == ((), ())  # far enough; ours need not follow where theirs overtook it
    compared = compare_at_matched_change(strong, further)
    assert compared["target_change"]["mean"] == pytest.approx(20, rel=0.05)


def test_faces_that_are_lost_are_left_out_and_counted() -> None:
    lossy = curves(12.0, 0.2)
    for values in lossy.readings.measures.values():
        values[3, 4] = np.nan
    lossy.readings.descriptors[3, 4] = np.nan
    figures = summarise(lossy)
    assert figures["images_without_face"] == 1
    assert figures["total_change"]["n"] == N - 1
    assert figures["monotone_share"] == pytest.approx((N - 1) / N)
    assert compare_at_matched_change(lossy, curves(12.0, 0.2))["faces_matched_each_way"] == [N, N - 1]


def test_only_the_same_attribute_is_compared() -> None:
    with pytest.raises(InvalidInputError, match="same attribute"):
        compare_at_matched_change(curves(1, 1), curves(1, 1, attribute="smile"))


def test_distances_between_faces() -> None:
    descriptors = np.zeros((4, 128))
    descriptors[0, 0], descriptors[1, 0], descriptors[2, 0] = 1, 2, 4
    descriptors[3] = np.nan
    found = between_faces(descriptors)
    assert found["mean"] == pytest.approx((1 + 3 + 2) / 3)
    assert found["least"] == pytest.approx(1)
    assert found["cosine_mean"] == pytest.approx(1)
    assert between_faces(descriptors[:1]) == {}
