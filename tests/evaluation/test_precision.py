"""What is read along alpha is what the readings hold, and what was requested stands beside it."""

from __future__ import annotations

import numpy as np
import pytest

from deltafast.evaluation.edit_curves import ALPHAS, EditCurves
from deltafast.evaluation.precision import precision, requested_and_got
from deltafast.evaluation.readings import Readings
from deltafast.evaluation.synthetic_reference import SyntheticChange
from deltafast.faces.attributes import MEASURES

N = 40


def curves(gain: float, cost: float, *, attribute: str = "yaw") -> EditCurves:
    """An editor of yaw: `gain` degrees and `cost` of descriptor distance for each alpha."""
    rng = np.random.default_rng(0)
    alpha = np.array(ALPHAS)
    measures = {name: rng.normal(0.3, 0.05, N)[:, None] + 0 * alpha for name in MEASURES}
    measures["yaw"] = rng.normal(0, 12, N)[:, None] + gain * rng.uniform(0.8, 1.2, N)[:, None] * alpha
    descriptors = np.repeat(rng.normal(0, 0.06, (N, 1, 128)), len(alpha), axis=1)  # [N, K, 128]
    descriptors[:, :, 0] += cost * np.abs(alpha)
    return EditCurves(attribute, ALPHAS, Readings(measures, np.zeros((N, len(alpha), 68, 2)), descriptors))


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
    # alpha = 1 asks for 15 degrees, and every face turns by 12; that the heads are read otherwise changes nothing
    heads = np.array([[-36.0, 0.0, 36.0], [-30.0, 0.0, 30.0]])
    reference = SyntheticChange("yaw", "degree", (-30.0, 0.0, 30.0), heads, ())
    turned = curves(12.0, 0.2)
    turned.readings.measures["yaw"][:] = 12 * np.array(ALPHAS)
    found = requested_and_got(turned, reference, (0.0, 15.0))
    assert [row["requested"] for row in found["rows"]] == [-15, -7.5, 7.5, 15]
    assert [row["on_heads"] for row in found["rows"]] == pytest.approx([-16.5, -8.25, 8.25, 16.5])
    assert [row["got"]["mean"] for row in found["rows"]] == pytest.approx([-12, -6, 6, 12])
    assert [row["error"]["mean"] for row in found["rows"]] == pytest.approx([3, 1.5, 1.5, 3])
    assert found["error"]["mean"] == pytest.approx(2.25)
    exact = requested_and_got(turned, reference, (0.0, 15.0), scale=0.8)
    assert exact["error"]["mean"] == pytest.approx(0)


def test_nothing_is_requested_beyond_the_rendered_frames() -> None:
    reference = SyntheticChange("smile", "fraction", (0.0, 0.5, 1.0), np.array([[0.0, 0.02, np.nan]]), ())
    assert reference.requested(0.25) == pytest.approx(0.01)  # no angle: what the heads show
    assert np.isnan(reference.requested(-0.5))
    assert np.isnan(reference.requested(1.0))  # no face was found there
    rows = requested_and_got(curves(1, 0, attribute="smile"), reference, (0.0, 0.5))["rows"]
    assert [row["alpha"] for row in rows] == [0.5, 1.0]
    turn = SyntheticChange("yaw", "degree", (-30.0, 0.0, 30.0), np.full((2, 3), np.nan), ())
    assert turn.requested(30.0) == 30
    assert np.isnan(turn.requested(31.0))
    light = SyntheticChange("light", "degree", (-30.0, 0.0, 30.0), np.array([[-1.0, 0.0, 2.0]]), ())
    assert light.requested(15.0) == 1  # an angle of the light, read as a ratio of brightnesses


def test_faces_that_are_lost_are_left_out_and_counted() -> None:
    lossy = curves(12.0, 0.2)
    for values in lossy.readings.measures.values():
        values[3, 4] = np.nan
    lossy.readings.descriptors[3, 4] = np.nan
    figures = precision(lossy)
    assert figures["images_without_face"] == 1
    assert figures["total_change"]["n"] == N - 1
    assert figures["monotone"]["mean"] == pytest.approx((N - 1) / N)
