"""Faces in memory to latents: the encoder's answer, or refined from there, whatever surrounds the call."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deltafast.errors import EncoderError
from deltafast.generators.base import Generator
from deltafast.projection import encode_images, project_faces
from deltafast.projection.encoder import Encoder, EncoderConfig
from deltafast.projection.sampling import slot_groups


@pytest.fixture(scope="module")
def encoder(tiny_generator: Generator) -> Encoder:
    """A small encoder for the small generator."""
    torch.manual_seed(0)
    config = EncoderConfig(64, tiny_generator.num_ws, tiny_generator.w_dim, slot_groups(tiny_generator.num_ws), 16)
    encoder = Encoder(config, tiny_generator.w_space, tiny_generator.name).eval().requires_grad_(False)
    encoder.w_avg.copy_(tiny_generator.w_avg)
    return encoder


@pytest.fixture
def faces() -> Tensor:
    return torch.rand(2, 3, 80, 80, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_without_steps_it_is_the_encoders_answer(tiny_generator: Generator, encoder: Encoder, faces: Tensor) -> None:
    ws = project_faces(tiny_generator, faces, encoder=encoder)
    expected = encode_images(tiny_generator, faces, encoder=encoder)
    torch.testing.assert_close(ws, expected, rtol=1e-4, atol=1e-5)  # images of 80 pixels are reduced twice
    assert torch.equal(ws[1:], project_faces(tiny_generator, faces[1:], encoder=encoder)), "whatever it comes with"
    assert not ws.is_inference()
    assert project_faces(tiny_generator, faces[:0], encoder=encoder, steps=2).shape == (0, *ws.shape[1:])


def test_steps_move_it_and_no_surrounding_context_matters(
    tiny_generator: Generator, encoder: Encoder, faces: Tensor
) -> None:
    start = project_faces(tiny_generator, faces, encoder=encoder)
    refined = project_faces(tiny_generator, faces, encoder=encoder, steps=3)
    assert not torch.allclose(refined, start, atol=1e-4)
    assert not refined.requires_grad
    alone = project_faces(tiny_generator, faces[1:], encoder=encoder, steps=3)
    torch.testing.assert_close(alone, refined[1:], rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(project_faces(tiny_generator, faces, encoder=encoder, steps=3), refined)
    with torch.inference_mode():
        torch.testing.assert_close(project_faces(tiny_generator, faces.clone(), encoder=encoder, steps=3), refined)


def test_the_bundled_encoder_is_for_its_own_generator(tiny_generator: Generator, faces: Tensor) -> None:
    with pytest.raises(EncoderError, match="train one"):
        project_faces(tiny_generator, faces)
