"""Faces at the end of an attribute's range are set aside by a rule that was fixed before, counted and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deltafast.evaluation.changes import READING_DEVIATION
from deltafast.evaluation.edit_curves import ALPHAS, EditCurves
from deltafast.evaluation.precision import precision
from deltafast.evaluation.range_ends import MAX_SHARE, faces_at_end, range_end_table
from deltafast.evaluation.readings import Readings
from deltafast.faces.attributes import MEASURES
from deltafast.files import read_json


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
