"""Consistency: exactly additive edits have none of the errors, and others as much as was put in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_faces import editor_of, sequences_of
from torch import Tensor

from deltafast.delta.linear import LinearEditor
from deltafast.errors import InvalidInputError
from deltafast.evaluation.consistency import (
    image_consistency,
    latent_consistency,
    order_consistency,
    undo_by_encoding,
)
from deltafast.evaluation.delta_space import component_effects, component_latents, delta_space
from deltafast.evaluation.figures.latent_plots import path_figures, principal_components
from deltafast.evaluation.readings import FaceReader
from deltafast.generators.base import Generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.sequence_latents import GeneratorId, SequenceLatents

SHAPE = (5, 8)  # num_ws, w_dim


def linear(seed: int = 0, attribute: str = "yaw") -> LinearEditor:
    """A plain direction in all slots."""
    direction = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
    return LinearEditor(attribute, (0.0, 1.0), direction, range(SHAPE[0]), GeneratorId("g", "f", "w"))


class Growing(LinearEditor):
    """Multiplies w by 1 + alpha / 10 instead of adding: halves make 1.1025 of it, and 1 then -1 leaves 0.99."""

    def edit(self, ws: Tensor, alpha: float | Tensor, **_: object) -> Tensor:
        """Return the larger latents."""
        return ws * (1 + 0.1 * alpha)

    def offset(self, ws: Tensor) -> Tensor:
        """Return a twentieth of w."""
        return 0.05 * ws


def growing() -> Growing:
    """An edit that is not additive."""
    return Growing("smile", (0.0, 1.0), torch.ones(SHAPE), range(SHAPE[0]), GeneratorId("g", "f", "w"))


def test_an_exactly_additive_edit_is_consistent() -> None:
    faces = torch.randn(6, *SHAPE)
    for values in latent_consistency(linear(), faces).values():
        np.testing.assert_allclose(values, 0, atol=1e-6)
    np.testing.assert_allclose(order_consistency(linear(0), linear(1), faces), 0, atol=1e-6)


def test_an_edit_that_multiplies_is_inconsistent_by_what_it_multiplies() -> None:
    faces = torch.randn(6, *SHAPE)
    found = latent_consistency(growing(), faces)
    np.testing.assert_allclose(found["at_zero"], 0.5, rtol=1e-4)  # 0.05 w of 0.1 w
    np.testing.assert_allclose(found["halves"], 0.025, rtol=1e-3)  # 1.05² - 1.1 of 0.1
    np.testing.assert_allclose(found["undo"], 0.1, rtol=1e-3)  # 1.1 * 0.9 - 1 of 0.1
    # grown and then moved, or moved and then grown: they differ by a tenth of the move
    move, size = linear(), 0.1 * faces.flatten(1).norm(dim=1).numpy()
    step = float(move.direction.norm())
    np.testing.assert_allclose(order_consistency(growing(), move, faces), 0.1 * step / ((size + step) / 2), rtol=1e-4)


def test_pictures_of_consistent_edits_are_the_same(drawn_reader: FaceReader, tiny_generator: Generator) -> None:
    faces = latents_from_seeds(tiny_generator, range(3))
    shape = (tiny_generator.num_ws, tiny_generator.w_dim)
    generator = GeneratorId.of(tiny_generator)
    editors = {
        name: LinearEditor(name, (0.0, 1.0), torch.full(shape, size), range(shape[0]), generator)
        for name, size in (("yaw", 0.25), ("smile", -0.5))  # sums of halves and quarters are exact
    }
    found = image_consistency(drawn_reader, editors, faces)
    assert set(found) == {"yaw", "smile"}
    assert found["yaw"]["halves"]["distance"]["mean"] == pytest.approx(0, abs=1e-2)
    assert found["yaw"]["undo"]["target"]["mean"] == pytest.approx(0, abs=0.2)
    assert found["yaw"]["order"]["smile"] == {
        "distance": found["smile"]["order"]["yaw"]["distance"],
        "target": found["yaw"]["order"]["smile"]["target"],
    }
    with pytest.raises(InvalidInputError, match="no measure"):
        image_consistency(drawn_reader, {"hat": editors["yaw"]}, faces)


def test_undoing_by_the_encoded_way_back(tiny_generator: Generator) -> None:
    sequences = sequences_of(tiny_generator)
    editor = editor_of(sequences, "yaw")
    left = undo_by_encoding(editor, sequences, latents_from_seeds(tiny_generator, range(3)))
    assert left is not None
    assert left.shape == (3,)
    assert (left > 0).all()
    other = SequenceLatents(
        sequences.attributes, sequences.identities, sequences.latents, GeneratorId("another", "1" * 64, "w")
    )
    assert undo_by_encoding(editor, other, latents_from_seeds(tiny_generator, range(1))) is None


def test_the_space_of_delta_holds_what_the_encoder_gives(drawn_reader: FaceReader, tiny_generator: Generator) -> None:
    sequences = sequences_of(tiny_generator)
    editor = editor_of(sequences, "yaw")
    space = delta_space(editor, sequences)
    assert space.count == 4 * 6  # four identities, ordered pairs of three frames
    assert space.explained.sum() == pytest.approx(1)
    assert (np.diff(space.explained) <= 1e-12).all()
    assert 1 <= space.needed(0.95) <= len(space.explained)
    assert space.needed(space.explained[0]) == 1
    # a delta is the sum of its components
    stack = sequences.stack("yaw")
    delta = editor.encode(stack[:1, 0], stack[:1, 2]).flatten()
    parts = space.components.flatten(1)
    torch.testing.assert_close(parts.T @ (parts @ delta), delta, atol=1e-4, rtol=1e-3)
    faces = latents_from_seeds(tiny_generator, range(2))
    moved = component_latents(editor, space, faces, 2)
    assert moved.shape == (2, 2, 3, *faces.shape[1:])
    torch.testing.assert_close(moved[:, :, 1], faces[None].expand(2, -1, -1, -1))
    effects = component_effects(drawn_reader, moved)
    assert len(effects) == 2
    assert effects[0]["yaw"]["n"] == 2
    with pytest.raises(InvalidInputError, match="another generator"):
        delta_space(
            editor,
            SequenceLatents(sequences.attributes, sequences.identities, sequences.latents, GeneratorId("a", "b", "c")),
        )


def test_linear_paths_are_straight_and_alike_others_are_not(tiny_generator: Generator) -> None:
    faces = torch.randn(4, *SHAPE)
    straight = path_figures(linear(), faces)
    assert straight["bend"] == pytest.approx(0, abs=1e-6)
    assert straight["spread_degrees"] == pytest.approx(0, abs=0.1)
    assert path_figures(growing(), faces)["spread_degrees"] > 30  # each face along itself
    editor = editor_of(sequences_of(tiny_generator), "yaw")
    assert path_figures(editor, latents_from_seeds(tiny_generator, range(3)))["bend"] > 1e-4


def test_principal_components_of_points_on_a_line() -> None:
    points = np.outer(np.arange(5.0), [3.0, 4.0, 0.0])
    components, share = principal_components(points, 2)
    np.testing.assert_allclose(np.abs(components[0]), [0.6, 0.8, 0])
    np.testing.assert_allclose(share, [1, 0], atol=1e-12)
