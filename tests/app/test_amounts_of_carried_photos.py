"""Amounts of a photo that is carried along are read off the carried picture, as `edit_batch` reads them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from mesh_faces import landmarks
from small_studio import small_studio
from torch import Tensor

import deltafast
from deltafast.app.turns import Newest
from deltafast.delta.amounts import UNITS, AmountReader
from deltafast.editing import UnreachedWarning, steering
from deltafast.generators.seeds import latents_from_seeds
from deltafast.pixels import to_bytes
from deltafast.projection import TunedFace, tuned_face


class _MeanReader(AmountReader):
    """Reads yaw off a picture's mean colour."""

    def __init__(self, attributes: Sequence[str], device: object = "cpu") -> None:
        self.units = [UNITS[attribute] for attribute in attributes]

    def read(self, images: Tensor) -> Tensor:
        """Readings `[N, 1]`."""
        return 100 * images.mean((1, 2, 3))[:, None]


def test_a_carried_photo_goes_as_far_as_edit_batch_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steering, "AmountReader", _MeanReader)
    monkeypatch.setattr(tuned_face, "load_face_landmarks", landmarks)
    studio = small_studio(tmp_path)
    ws = latents_from_seeds(studio.generator, [3], 0.7)
    photo = np.random.default_rng(0).integers(60, 160, (64, 64, 3)).astype(np.uint8)
    face = TunedFace.of(studio.generator, ws, photo)
    look = studio.look(ws, face)
    edited = studio.exact(ws, look, studio.dials, {"yaw": 12.0}, Newest().take())
    editor = studio.dials["yaw"].editor
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnreachedWarning)
        wanted = deltafast.edit_batch(studio.generator, face, editor, by=12.0)
        plain = deltafast.edit_batch(studio.generator, ws, editor, by=12.0)
    assert wanted.images is not None
    assert wanted.reached is not None
    assert plain.reached is not None
    assert edited.alphas["yaw"] == pytest.approx(float(wanted.reached["yaw"].alpha[0]), abs=1e-6)
    assert abs(edited.alphas["yaw"] - float(plain.reached["yaw"].alpha[0])) > 0.1, "else this test shows nothing"
    torch.testing.assert_close(edited.ws.cpu(), wanted.latents)
    assert np.array_equal(edited.pixels, to_bytes(wanted.images)[0].permute(1, 2, 0).numpy())
    assert float(edited.reached["yaw"].after[0]) == float(wanted.reached["yaw"].after[0])
