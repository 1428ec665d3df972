"""The encoder file and its use: bundled encoder, other generators, damaged files, bad images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from deltafast.errors import EncoderError, InvalidInputError
from deltafast.generators.base import Generator
from deltafast.projection import encode_images, load_encoder
from deltafast.projection.encoder import Encoder, EncoderConfig
from deltafast.projection.sampling import slot_groups


def _small_encoder(generator: Generator) -> Encoder:
    torch.manual_seed(0)
    config = EncoderConfig(64, generator.num_ws, generator.w_dim, slot_groups(generator.num_ws), hidden=16)
    return Encoder(config, generator.w_space, generator.name).eval()


def test_saved_encoder_gives_the_same_latents(tiny_generator: Generator, tmp_path: Path) -> None:
    encoder = _small_encoder(tiny_generator)
    encoder.save(tmp_path / "encoder.safetensors")
    loaded = load_encoder(tmp_path / "encoder.safetensors")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        ours, theirs = encoder.encode(images), loaded.encode(images)
    assert ours.shape == (2, tiny_generator.num_ws, tiny_generator.w_dim)
    assert float((ours - theirs).abs().max()) < 2e-2 * float(ours.abs().max())  # weights are stored as fp16


def test_encoding_does_not_depend_on_the_batch(tiny_generator: Generator) -> None:
    encoder = _small_encoder(tiny_generator)
    images = torch.rand(5, 3, 96, 96, generator=torch.Generator().manual_seed(1)) * 2 - 1
    together = encode_images(tiny_generator, images, encoder=encoder)
    alone = encode_images(tiny_generator, images, encoder=encoder, batch_size=2)
    assert torch.allclose(together, alone, atol=1e-5)
    assert encode_images(tiny_generator, images[:0], encoder=encoder).shape == (0, *together.shape[1:])


def test_another_latent_space_is_refused(tiny_generator: Generator) -> None:
    encoder = _small_encoder(tiny_generator)
    encoder.w_space = "another"
    with pytest.raises(EncoderError, match="train-encoder"):
        encode_images(tiny_generator, torch.zeros(1, 3, 64, 64), encoder=encoder)


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 3, 8, 8)])
def test_images_of_a_wrong_shape_are_refused(tiny_generator: Generator, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match=r"\[N, 3, H, W\]"):
        _small_encoder(tiny_generator).encode(torch.zeros(shape))


def test_nan_images_are_refused(tiny_generator: Generator) -> None:
    with pytest.raises(InvalidInputError, match="NaN"):
        _small_encoder(tiny_generator).encode(torch.full((1, 3, 64, 64), float("nan")))


def test_damaged_encoder_files_are_refused(tiny_generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    with pytest.raises(EncoderError, match="cannot be read"):
        load_encoder(path)
    _small_encoder(tiny_generator).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EncoderError, match="cannot be read"):
        load_encoder(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(EncoderError, match="format version"):
        load_encoder(path)


def test_an_encoder_with_nan_weights_or_missing_tensors_is_refused(tiny_generator: Generator, tmp_path: Path) -> None:
    from safetensors import safe_open

    path = tmp_path / "encoder.safetensors"
    _small_encoder(tiny_generator).save(path)
    with safe_open(path, framework="pt") as stream:
        metadata = stream.metadata()
    tensors = load_file(path)
    save_file(tensors | {"w_avg": torch.full_like(tensors["w_avg"], float("nan"))}, path, metadata=metadata)
    with pytest.raises(EncoderError, match="NaN"):
        load_encoder(path)
    del tensors["w_avg"]
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(EncoderError, match="w_avg"):
        load_encoder(path)


def test_bundled_encoder_recovers_most_of_a_sampled_latent(mobilestylegan: Generator) -> None:
    """The bundled encoder explains over half of the coarse and middle codes' variance on faces it never saw."""
    import torch.nn.functional as F

    encoder = load_encoder()
    z = torch.randn(12, mobilestylegan.z_dim, generator=torch.Generator().manual_seed(77))
    with torch.inference_mode():
        ws = mobilestylegan.mapping(z, truncation_psi=0.8)
        images = torch.cat([F.avg_pool2d(mobilestylegan.synthesis(w[None]), 4) for w in ws])
        found = encode_images(mobilestylegan, images, encoder=encoder)
    error = (found - ws)[:, :8].square().mean()
    assert float(error) < 0.5 * float((ws - mobilestylegan.w_avg)[:, :8].square().mean())
