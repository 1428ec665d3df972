"""Directions of others as editors: every shape that is in use, on the generator they are given to, and what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import deltafast
from deltafast.delta.direction import DirectionEditor, load_direction
from deltafast.errors import EditorError
from deltafast.generators.base import Generator


def test_directions_of_every_shape_are_added_as_they_are(tiny_generator: Generator, tmp_path: Path) -> None:
    L, C = tiny_generator.num_ws, tiny_generator.w_dim
    random = torch.Generator().manual_seed(0)
    ws, one = torch.randn(2, L, C, generator=random), torch.randn(C, generator=random)
    each = torch.randn(L, C, generator=random)
    each[5:] = 0
    files = {"a.npy": one, "b.npy": one[None], "c.pt": each, "d.PT": each[None]}
    for name, vector in files.items():
        if name.endswith("npy"):
            np.save(tmp_path / name, vector.double().numpy())
        else:
            torch.save(vector, tmp_path / name)
        result = deltafast.edit_batch(tiny_generator, ws, tmp_path / name, -1.5, synthesise=False)
        torch.testing.assert_close(result.latents, ws - 1.5 * vector)
    limited = deltafast.edit_batch(tiny_generator, ws, tmp_path / "a.npy", 1.0, layers=[0, 2], synthesise=False)
    assert torch.equal(limited.latents[:, 1], ws[:, 1])
    torch.testing.assert_close(limited.latents[:, 2], ws[:, 2] + one)
    loaded = deltafast.load_editor(tmp_path / "c.pt")
    assert loaded.attribute == "c"
    assert loaded.slots == tuple(range(5))
    torch.testing.assert_close(loaded.edit(ws, 1.0), ws + each)


def test_what_is_no_direction_is_refused_by_name(tiny_generator: Generator, tmp_path: Path) -> None:
    for content in (np.zeros(16), np.full(16, np.nan), np.ones((2, 3, 16)), np.ones(0), np.array(["x"])):
        np.save(tmp_path / "wrong.npy", content)
        with pytest.raises(EditorError, match="wrong"):
            load_direction(tmp_path / "wrong.npy")
    (tmp_path / "torn.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(EditorError, match=r"torn\.pt"):
        deltafast.load_editor(tmp_path / "torn.pt")
    with pytest.raises(EditorError, match="w_dim 512"):
        DirectionEditor("age", torch.ones(512)).for_generator(tiny_generator)
    with pytest.raises(EditorError, match="no counterpart"):
        DirectionEditor("age", torch.ones(18, 16)).for_generator(tiny_generator)
