"""Identities: reproducible, different from each other, adults, and of shapes that the head has."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from deltafast.errors import InvalidInputError
from deltafast.synthetic import HeadModel, Identity, female, male, random_identity, sequence_identities


def test_the_same_seed_gives_the_same_person_and_others_differ() -> None:
    assert random_identity(7) == random_identity(7)
    people = [random_identity([0, k]) for k in range(40)]
    assert len({json.dumps(person.parameters(), sort_keys=True) for person in people}) == 40
    women = sum(person.gender < 0.5 for person in people)
    assert 10 <= women <= 30
    assert all(0.5 <= person.age <= 0.9 for person in people)


def test_the_first_identities_do_not_depend_on_how_many_follow() -> None:
    assert sequence_identities(5, seed=3)[:4] == sequence_identities(2, seed=3)
    assert sequence_identities(2, seed=3)[2:] != sequence_identities(2, seed=4)[2:]
    assert [head.name for head in sequence_identities(2)] == ["female", "male", "identity-000", "identity-001"]


def test_every_identity_is_built_of_shapes_that_the_head_has(model: HeadModel) -> None:
    heads = [female(), male(), *(random_identity([1, k]) for k in range(12))]
    for head in heads:
        vertices = model.shape(head)
        assert np.isfinite(vertices).all()
        fine = model.refinement(vertices)
        height = fine[model.skin, 1].max() - model.landmarks(fine)["chin"][0, 1]
        assert 1.9 < height < 2.9  # decimetres from chin to crown


def test_macro_shapes_of_one_kind_share_out_the_whole() -> None:
    weights = dataclasses.replace(male(), gender=0.3, age=0.7, muscle=0.8, weight=0.1).macro_weights()
    build = sum(value for name, value in weights.items() if name.startswith(("male", "female")))
    assert build == pytest.approx(1.0)
    assert sum(weights.values()) - build == pytest.approx(1.0)


def test_parameters_are_plain_json() -> None:
    parameters = random_identity(3).parameters()
    assert json.loads(json.dumps(parameters)) == parameters


@pytest.mark.parametrize("changes", [{"gender": 1.2}, {"age": 0.2}, {"origin": (0.0, 0.0, 0.0)}, {"muscle": -0.1}])
def test_parameters_out_of_range_are_refused(model: HeadModel, changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="identity 'odd'"):
        model.shape(dataclasses.replace(Identity("odd"), **changes))  # type: ignore[arg-type]


def test_an_unknown_shape_is_named(model: HeadModel) -> None:
    with pytest.raises(InvalidInputError, match="no shape 'local/nose/trunk'"):
        model.shape(Identity("odd", local=(("nose/trunk", 1.0),)))
    with pytest.raises(InvalidInputError, match="no shape 'unit/wink'"):
        model.shape(female(), {"wink": 1.0})


def test_negative_seeds_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="non-negative"):
        random_identity(-1)
    with pytest.raises(InvalidInputError, match="must not be negative"):
        sequence_identities(-1)
