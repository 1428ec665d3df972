"""Edited faces are compared with faces that have it anyway: chosen by reading, each once, the same for every method."""

from __future__ import annotations

import numpy as np
import pytest

from deltafast.evaluation.alike import choose_alike
from deltafast.evaluation.realism import WayFeatures, realism_table


def test_the_faces_chosen_have_what_was_wanted_and_each_is_chosen_once() -> None:
    rng = np.random.default_rng(0)
    pool = rng.normal(0, 10, 300)
    pool[7] = np.nan
    wanted = np.append(rng.normal(8, 6, 60), [np.nan, 90.0])
    chosen = choose_alike(wanted, pool)
    found = chosen >= 0
    assert not found[-2:].any()
    assert found.sum() > 50
    assert len(set(chosen[found])) == found.sum()
    assert (np.abs(pool[chosen[found]] - wanted[found]) <= 0.25 * np.nanstd(pool)).all()
    second = choose_alike(wanted, pool, taken=chosen)
    assert not set(second[second >= 0]) & set(chosen[found])
    assert (choose_alike(wanted, np.full(5, np.nan)) == -1).all()


def test_as_many_as_possible_find_a_face() -> None:
    # one pool face suits both, the other only the first: nearest first would leave the second without
    pool = np.array([0.0, 1.0, 100.0, -100.0])
    assert choose_alike(np.array([0.4, -9.0]), np.array([0.0, 10.0, 30.0, -30.0])).tolist() == [0, -1]
    assert sorted(choose_alike(np.array([0.5, 0.6]), pool).tolist()) == [0, 1]


def features(shift: float, seed: int = 0) -> np.ndarray:
    """Forty faces of six features, moved."""
    return np.random.default_rng(seed).normal(size=(40, 6)) + shift


def ways(ours: float, linear: float) -> list[WayFeatures]:
    """Faces that went from 0 to 3, edited by two methods to somewhere near; all but five find others of their kind."""
    alike = features(3, 1)
    alike[:5] = np.nan
    one = WayFeatures(features(0), alike, features(3, 2), {"ours": features(ours), "linear": features(linear)})
    return [one, one]


def test_realism_is_the_distance_to_faces_that_have_it_anyway() -> None:
    table = realism_table(ways(3.0, 2.0), "ours")
    assert table["faces"] == {"alike": [35, 35], "unedited": [40, 40]}
    row = table["alike"]["linear"]
    assert row["ours_is"] == "better"
    assert row["ratio"]["low"] < row["ratio"]["mean"] < row["ratio"]["high"] < 1
    assert table["between_alike"]["distance"] == pytest.approx(table["alike"]["ours"]["distance"], rel=0.7)
    # against the unedited faces the one that did less is nearer
    assert table["unedited"]["linear"]["ours_is"] == "worse"


def test_too_few_faces_say_nothing() -> None:
    way = ways(3.0, 2.0)[0]
    few = WayFeatures(way.unedited[:9], way.alike[:9], way.others[:9], {k: v[:9] for k, v in way.edited.items()})
    table = realism_table([few, few], "ours")
    assert table["alike"] == table["unedited"] == {}
    assert table["between_alike"] is None
    one_way = realism_table([few, way], "ours")
    assert one_way["alike"]["ours"]["n"] == 35
