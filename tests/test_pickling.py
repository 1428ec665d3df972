"""Public objects pickle and deep-copy, after they were used too, and the copies do what the originals do."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from small_editors import random_editor

import deltafast
from deltafast.delta import Editor, LinearEditor
from deltafast.faces.alignment import Alignment, FaceAligner
from deltafast.faces.meter import FaceMeter
from deltafast.generators.base import Generator
from deltafast.sequence_latents import GeneratorId, SequenceLatents

Copier = Callable[[Any], Any]


@pytest.fixture(params=["pickle", "deepcopy"])
def copied(request: pytest.FixtureRequest) -> Copier:
    """Returns a copy of an object."""
    return copy.deepcopy if request.param == "deepcopy" else lambda value: pickle.loads(pickle.dumps(value))


@pytest.fixture
def editor(tiny_generator: Generator) -> Editor:
    """An editor of the small generator with random weights."""
    return random_editor(tiny_generator)


def test_generators(tiny_generator: Generator, copied: Copier) -> None:
    ws = torch.randn(1, tiny_generator.num_ws, tiny_generator.w_dim)
    image = tiny_generator.synthesis(ws)
    again = copied(tiny_generator)
    assert torch.equal(again.synthesis(ws), image)
    assert (again.fingerprint, again.name, again.w_space) == (
        tiny_generator.fingerprint,
        tiny_generator.name,
        tiny_generator.w_space,
    )
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.mul_(1.5)
    assert not torch.equal(again.synthesis(ws), image)  # a copy's weights are its own
    assert torch.equal(tiny_generator.synthesis(ws), image)


def test_a_compiled_synthesis(tiny_generator: Generator, copied: Copier) -> None:
    assert callable(copied(tiny_generator.compiled()))


def test_editors_and_results(tiny_generator: Generator, editor: Editor, copied: Copier) -> None:
    ws = torch.randn(2, tiny_generator.num_ws, tiny_generator.w_dim)
    for one in (editor, editor.for_generator(tiny_generator), LinearEditor.of(editor)):
        assert torch.equal(copied(one).edit(ws, 0.7), one.edit(ws, 0.7))
    result = deltafast.edit_batch(tiny_generator, ws, editor, 1.0)
    again = copied(result)
    assert torch.equal(again.images, result.images)
    assert torch.equal(again.latents, result.latents)
    assert copied(editor.info) == editor.info


def test_sequence_latents(copied: Copier) -> None:
    tensors = {("yaw", name): torch.randn(2, 3, 4) for name in "ab"}
    latents = SequenceLatents({"yaw": [0.0, 1.0]}, ["a", "b"], tensors, GeneratorId("g", "f", "w"))
    assert copied(latents).digest("yaw") == latents.digest("yaw")


def test_aligners_and_what_they_give(copied: Copier) -> None:
    pytest.importorskip("dlib", reason="the extra `photos` (dlib-bin) is not installed")
    data = pytest.importorskip("skimage.data", reason="needs a photo")
    photo = np.ascontiguousarray(data.astronaut()[:300, 100:400])
    aligner = FaceAligner()
    (face,) = aligner.align(photo, size=64)
    (again,) = copied(aligner).align(photo, size=64)
    assert np.array_equal(again.image, face.image)
    assert np.array_equal(copied(face).image, face.image)
    assert np.array_equal(copied(face.alignment).quad, face.alignment.quad)
    assert copied(Alignment.of_whole(8, 8)).is_whole
    assert isinstance(copied(FaceMeter()), FaceMeter)
