"""The comparison of editors finds the change, the costs and the verdict that are in the readings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deltafast.errors import InvalidInputError
from deltafast.evaluation.edit_curves import ALPHAS, EditCurves, extend_weaker
from deltafast.evaluation.identity import between_faces, group_identity, identity_table
from deltafast.evaluation.leak import leak_table
from deltafast.evaluation.matched import IDENTITY_DISTANCE, LEAK, along_the_way, match_editors
from deltafast.evaluation.precision import precision, requested_and_got
from deltafast.evaluation.range_ends import MAX_SHARE, READING_DEVIATION, faces_at_end, range_end_table
from deltafast.evaluation.readings import Readings
from deltafast.evaluation.synthetic_reference import SyntheticChange
from deltafast.faces.attributes import MEASURES
from deltafast.files import read_json

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
    figures = precision(curves(12.0, 0.2))
    assert figures["measure"] == "yaw"
    assert figures["monotone"]["mean"] == 1
    assert figures["slope"]["mean"] == pytest.approx(12, rel=0.05)
    assert figures["total_change"]["mean"] == pytest.approx(24, rel=0.05)
    assert figures["total_change"]["low"] < figures["total_change"]["mean"] < figures["total_change"]["high"]
    assert figures["r2"]["mean"] == pytest.approx(1)
    assert figures["distance_at_1"]["mean"] == pytest.approx(0.2)


def test_an_editor_that_goes_the_wrong_way_is_not_monotone() -> None:
    figures = precision(curves(-12.0, 0.2))
    assert figures["monotone"]["mean"] == 0
    assert figures["total_change"]["mean"] < 0


def test_requested_and_got_differ_by_what_was_put_in() -> None:
    # the heads turn as far as they are told; alpha = 1 asks for 15 degrees, and every face turns by 12
    heads = np.array([[-30.0, 0.0, 30.0], [-30.0, 0.0, 30.0]])
    reference = SyntheticChange("yaw", "degree", (-30.0, 0.0, 30.0), heads, ())
    turned = curves(12.0, 0.2)
    turned.readings.measures["yaw"][:] = 12 * np.array(ALPHAS)
    found = requested_and_got(turned, reference, (0.0, 15.0))
    assert [row["requested"] for row in found["rows"]] == [-15, -7.5, 7.5, 15]
    assert [row["got"]["mean"] for row in found["rows"]] == pytest.approx([-12, -6, 6, 12])
    assert [row["error"]["mean"] for row in found["rows"]] == pytest.approx([3, 1.5, 1.5, 3])
    assert found["error"]["mean"] == pytest.approx(2.25)
    assert found["nominal_error"]["mean"] == pytest.approx(2.25)
    exact = requested_and_got(turned, reference, (0.0, 15.0), scale=0.8)
    assert exact["error"]["mean"] == pytest.approx(0)
    # heads that turn only half as far as they are told: the plain angle is asked for as before
    half = SyntheticChange("yaw", "degree", (-30.0, 0.0, 30.0), heads / 2, ())
    assert requested_and_got(turned, half, (0.0, 15.0))["rows"][0]["requested"] == -7.5
    assert requested_and_got(turned, half, (0.0, 15.0))["nominal_error"]["mean"] == pytest.approx(2.25)


def test_nothing_is_asked_for_beyond_the_rendered_frames() -> None:
    reference = SyntheticChange("smile", "fraction", (0.0, 0.5, 1.0), np.array([[0.0, 0.02, np.nan]]), ())
    assert reference.requested(0.25) == pytest.approx(0.01)
    assert np.isnan(reference.requested(-0.5))
    assert np.isnan(reference.requested(1.0))  # no face was found there
    rows = requested_and_got(curves(1, 0, attribute="smile"), reference, (0.0, 0.5))["rows"]
    assert [row["alpha"] for row in rows] == [0.5, 1.0]


def test_a_stronger_editor_is_not_worse_for_being_stronger() -> None:
    # the same path, a quarter faster: at equal change the costs are equal
    matched = match_editors({"ours": curves(20.0, 0.3, leak=0.04), "linear": curves(16.0, 0.24, leak=0.032)}, "ours")
    assert np.mean(matched.level) == pytest.approx(16, rel=0.05)
    for name in (IDENTITY_DISTANCE, "mouth_width", LEAK):
        np.testing.assert_allclose(matched.costs["ours"][name], matched.costs["linear"][name], atol=1e-9)
    row = identity_table(matched, "ours")["linear"]
    assert row["ours_minus_this"]["mean"] == pytest.approx(0, abs=1e-9)
    assert row["ours_is"] == "equal"


def test_costs_at_matched_change_are_told_apart() -> None:
    both = {"ours": curves(12.0, 0.2, leak=0.04), "linear": curves(12.0, 0.25, leak=0.01)}
    matched = match_editors(both, "ours")
    assert matched.faces_each_way == (N, N)
    identity, leak = identity_table(matched, "ours"), leak_table(matched, "ours")
    assert identity["ours"]["distance_at_end"]["mean"] == pytest.approx(0.2)
    assert identity["linear"]["distance_at_end"]["mean"] == pytest.approx(0.25)
    assert identity["linear"]["ours_is"] == "better"
    # the path is straight: at 1/4, 1/2, 3/4 and all of the change the distance is that share of the last one
    assert identity["ours"]["distance_along"]["mean"] == pytest.approx(0.2 * 0.625)
    assert leak["linear"]["mouth_width"]["ours_is"] == "worse"
    assert leak["linear"][LEAK]["ours_is"] == "worse"
    assert leak["ours"]["mouth_width"]["per_unit"]["mean"] == pytest.approx(0.04 / 12, rel=0.05)
    assert leak["ours"]["pitch"]["per_unit"]["mean"] == pytest.approx(0, abs=1e-12)
    # in deviations: 0.04 of about 0.05 against 12 degrees of about 12
    expected = (0.04 / matched.spread["mouth_width"]) / (12 / matched.spread["yaw"])
    assert leak["ours"][LEAK]["per_unit"]["mean"] == pytest.approx(expected, rel=0.05)


def test_the_way_to_the_matched_change_is_followed() -> None:
    both = {"ours": curves(12.0, 0.2), "linear": curves(12.0, 0.3)}
    matched = match_editors(both, "ours")
    change, cost = along_the_way(both["ours"], matched, np.array([0.0, 0.5, 1.0]), IDENTITY_DISTANCE)
    assert change == pytest.approx([0, 6, 12], rel=0.05)
    assert cost.shape == (3, N)
    assert cost.mean(axis=1) == pytest.approx([0, 0.1, 0.2])


def test_an_editor_that_does_nothing_is_left_out() -> None:
    matched = match_editors({"ours": curves(12.0, 0.2), "linear": curves(0.0, 0.0)}, "ours")
    assert matched.methods == ("ours",)
    assert matched.left_out == ("linear",)
    assert np.mean(matched.level) == pytest.approx(12, rel=0.05)
    idle = match_editors({"ours": curves(0.0, 0.0)}, "ours")  # the reference itself: no face is matched
    assert idle.faces_each_way == (0, 0)
    assert identity_table(idle, "ours")["ours"]["distance_at_end"]["mean"] is None


def test_an_editor_that_reaches_too_little_is_left_out() -> None:
    assert match_editors({"ours": curves(20.0, 0.3), "linear": curves(14.0, 0.1)}, "ours").left_out == ("linear",)
    assert match_editors({"ours": curves(20.0, 0.3), "linear": curves(15.5, 0.1)}, "ours").left_out == ()


def test_groups_average_their_attributes() -> None:
    one = match_editors({"ours": curves(12.0, 0.2), "linear": curves(12.0, 0.3)}, "ours")
    other = match_editors({"ours": curves(12.0, 0.4)}, "ours")
    assert group_identity([one, other], "ours")["distance_along"]["mean"] == pytest.approx(0.3 * 0.625)
    assert group_identity([one, other], "linear") is None


def test_the_weaker_editor_is_read_further_until_it_reaches_as_far() -> None:
    strong, weak = curves(20.0, 0.3), curves(12.0, 0.15)
    assert extend_weaker({"ours": strong, "linear": weak}, "ours") == {"linear": (-1.5, 1.5)}
    assert extend_weaker({"ours": weak, "linear": strong}, "ours") == {}  # ours is the measure
    further = curves(12.0, 0.15, alphas=(-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0))
    joined = further.at((-1.0, -0.5, 0.0, 0.5, 1.0)).joined(further.at((-1.5, 1.5)))
    assert joined.alphas == (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)
    np.testing.assert_allclose(joined.target(), further.target()[:, 1:-1])
    assert extend_weaker({"ours": strong, "linear": joined}, "ours") == {"linear": (-2.0, 2.0)}
    assert extend_weaker({"ours": strong, "linear": further}, "ours") == {}
    assert np.mean(match_editors({"ours": strong, "linear": further}, "ours").level) == pytest.approx(20, rel=0.05)


def test_faces_that_are_lost_are_left_out_and_counted() -> None:
    lossy = curves(12.0, 0.2)
    for values in lossy.readings.measures.values():
        values[3, 4] = np.nan
    lossy.readings.descriptors[3, 4] = np.nan
    figures = precision(lossy)
    assert figures["images_without_face"] == 1
    assert figures["total_change"]["n"] == N - 1
    assert figures["monotone"]["mean"] == pytest.approx((N - 1) / N)
    assert match_editors({"ours": lossy, "linear": curves(12.0, 0.2)}, "ours").faces_each_way == (N, N - 1)


def test_only_the_same_attribute_is_compared() -> None:
    with pytest.raises(InvalidInputError, match="same attribute"):
        match_editors({"ours": curves(1, 1), "linear": curves(1, 1, attribute="smile")}, "ours")


def test_distances_between_faces() -> None:
    descriptors = np.zeros((4, 128))
    descriptors[0, 0], descriptors[1, 0], descriptors[2, 0] = 1, 2, 4
    descriptors[3] = np.nan
    found = between_faces(descriptors)
    assert found["mean"] == pytest.approx((1 + 3 + 2) / 3)
    assert found["least"] == pytest.approx(1)
    assert found["cosine_mean"] == pytest.approx(1)
    assert between_faces(descriptors[:1]) == {}


def test_shut_mouths_are_set_aside_by_the_rule_and_at_most_a_fifth() -> None:
    shut = READING_DEVIATION["mouth_opening"]
    opening = np.concatenate([np.full(4, 0.01), [0.01 + 0.9 * shut, 0.01 + 1.5 * shut], np.linspace(0.03, 0.1, 34)])
    assert np.flatnonzero(faces_at_end("mouth-open", opening)).tolist() == [0, 1, 2, 3, 4]
    many = np.concatenate([np.full(30, 0.01), np.linspace(0.03, 0.1, 10)])
    assert faces_at_end("mouth-open", many).sum() == MAX_SHARE * 40
    assert not faces_at_end("yaw", opening).any()
    assert not faces_at_end("mouth-open", np.full(5, np.nan)).any()

    alpha = np.array(ALPHAS)
    target = np.maximum(opening[:, None] + 0.01 * alpha, 0.01)  # what is shut stays shut
    measures = {name: np.ones((40, 5)) for name in MEASURES} | {"mouth_opening": target}
    own = EditCurves("mouth-open", ALPHAS, Readings(measures, np.zeros((40, 5, 68, 2)), np.ones((40, 5, 128))))
    table = range_end_table({"ours": own}, "ours", [f"seed {k}" for k in range(40)])
    assert table is not None
    assert table["faces"] == [f"seed {k}" for k in range(5)]
    assert precision(own)["monotone"]["mean"] == pytest.approx(34 / 40)
    assert table["monotone_of_others"]["ours"]["mean"] == pytest.approx(34 / 35)


def test_the_deviation_of_a_reading_is_the_measured_one(repository_root: Path) -> None:
    found = read_json(repository_root / "benchmarks" / "results" / "repeated_readings.json")["deviation"]
    for name, deviation in READING_DEVIATION.items():
        assert deviation == pytest.approx(found[name], rel=0.01)


def test_shares_say_whom_a_method_brings_there_and_ratios_are_paired() -> None:
    ours, wide = curves(12.0, 0.2), curves(24.0, 0.4)
    weak = curves(6.0, 0.15, alphas=(-1.0, -0.5, 0.0, 0.5, 1.0))
    matched = match_editors({"ours": ours, "wide": wide, "weak": weak}, "ours")
    assert matched.left_out == ("weak",)
    assert 0.2 < matched.reached["ours"] < 0.8  # about half of the faces are beyond their own mean
    assert matched.reached["wide"] == 1
    assert matched.reached["weak"] == 0
    table = identity_table(matched, "ours")
    # for the same change the wide one takes half the alpha: the costs are equal, face by face
    assert table["wide"]["ratio"]["mean"] == pytest.approx(1, abs=0.02)
    assert table["wide"]["ratio"]["high"] - table["wide"]["ratio"]["low"] < 0.02
    assert "ratio" not in table["ours"]
    lost = table["ours"]["distance_at_end"]["mean"] - table["ours"]["turn_itself"]["mean"]
    assert table["ours"]["beyond_the_turn"]["mean"] == pytest.approx(lost)
    assert leak_table(matched, "ours")["wide"]["leak"]["ratio"]["n"] > 0
