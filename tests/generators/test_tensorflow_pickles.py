"""StyleGAN2's official TensorFlow pickles: every layout, architecture and option, without TensorFlow."""

from __future__ import annotations

import numpy as np
import plain_generators
import pytest
import torch
from small_generators import stylegan2_tensors
from small_tensorflow import tensorflow_pickle

from deltafast.errors import CheckpointError
from deltafast.generators.build import build_generator
from deltafast.generators.load import load_generator, save_generator


def _written(tmp_path, *arguments, **options):
    path = tmp_path / "network.pkl"
    path.write_bytes(tensorflow_pickle(*arguments, **options))
    return path


@pytest.mark.parametrize("architecture", ["skip", "orig", "resnet"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_every_architecture_is_the_network_that_it_was(tmp_path, architecture, protocol):
    tensors = stylegan2_tensors(architecture=architecture, c_dim=2)
    path = _written(tmp_path, tensors, 16, architecture=architecture, protocol=protocol, alone=protocol == 4)
    generator = load_generator(path)
    config = {"architecture": "stylegan2", "img_resolution": 16, "synthesis_architecture": architecture}
    expected = build_generator(tensors, config, "expected")
    ws = torch.randn(1, expected.num_ws, expected.w_dim, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(generator.synthesis(ws), expected.synthesis(ws), rtol=1e-5, atol=1e-5)
    z, c = torch.randn(2, expected.z_dim), torch.eye(2)
    torch.testing.assert_close(generator.mapping(z, c), expected.mapping(z, c))


def test_labels_joined_to_z_before_it_is_normalised_are_those_of_the_original(tmp_path):
    tensors = stylegan2_tensors(resolution=8, c_dim=3)
    del tensors["mapping.embed.bias"]
    generator = load_generator(_written(tmp_path, tensors, 8))
    z, c = torch.randn(4, generator.z_dim, generator=torch.Generator().manual_seed(0)), torch.eye(4, 3)
    inner = {name: tensor for name, tensor in tensors.items() if "embed" not in name}
    expected = plain_generators.mapping(inner, torch.cat([z, c @ tensors["mapping.embed.weight"].T], 1))
    assert generator.c_dim == 3
    torch.testing.assert_close(generator.mapping(z, c)[:, 0], expected)
    save_generator(generator, tmp_path / "saved.safetensors")
    again = load_generator(tmp_path / "saved.safetensors")
    assert torch.equal(again.mapping(z, c), generator.mapping(z, c))
    assert again.fingerprint == generator.fingerprint


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        ({}, "w_avg_beta", 0.995),
        ({"dlatent_avg_beta": 0.9}, "w_avg_beta", 0.9),
        ({"nonlinearity": "relu"}, "activation", "relu"),
        ({"mapping_nonlinearity": "linear"}, "mapping_activation", "linear"),
        ({"mapping_lrmul": 0.1}, "mapping_lr_multiplier", 0.1),
        ({"conv_clamp": 256}, "conv_clamp", 256),
        ({"fmap_base": 128, "fused_modconv": True, "truncation_cutoff": None}, "conv_clamp", None),
    ],
)
def test_options_are_those_of_the_file(tmp_path, options, key, value):
    generator = load_generator(_written(tmp_path, stylegan2_tensors(resolution=8), 8, **options))
    assert generator.config[key] == value


@pytest.mark.parametrize("kernel", [[1, 2, 1], [1, 3, 3, 1], [[1, 2], [2, 4]]])
def test_the_resample_kernel_is_scaled_to_one(tmp_path, kernel):
    generator = load_generator(_written(tmp_path, stylegan2_tensors(resolution=8), 8, resample_kernel=kernel))
    taps = np.array(kernel, dtype=np.float32)
    taps = np.outer(taps, taps) if taps.ndim == 1 else taps
    found = generator.tensors()["synthesis.resample_filter"]
    torch.testing.assert_close(found, torch.from_numpy(taps / taps.sum()))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"architecture": "dense"}, "'dense'"),
        ({"nonlinearity": "swish"}, "'swish'"),
        ({"normalize_latents": False}, "normalise"),
        ({"resample_kernel": [1, "a"]}, "resample_kernel"),
        ({"resample_kernel": [0, 0]}, "resample_kernel"),
        ({"mapping_lrmul": -1}, "mapping_lrmul"),
        ({"dlatent_avg_beta": 2}, "dlatent_avg_beta"),
        ({"extra": {"8x8/Attention/weight": np.zeros((2, 2), np.float32)}}, "Attention"),
        ({"extra": {"4x4/Const/StyleMod/weight": np.zeros(2, np.float32)}}, "first StyleGAN"),
    ],
)
def test_what_changes_the_image_and_is_not_supported_refuses(tmp_path, options, word):
    with pytest.raises(CheckpointError, match=word):
        load_generator(_written(tmp_path, stylegan2_tensors(resolution=8), 8, **options))


def test_a_resolution_that_the_variables_do_not_have_refuses(tmp_path):
    tensors = stylegan2_tensors(resolution=8)
    data = tensorflow_pickle(tensors, 8)
    assert data.count(b"resolution") == 1
    at = data.index(b"K\x08", data.index(b"resolution"))
    (tmp_path / "network.pkl").write_bytes(data[: at + 1] + b"\x10" + data[at + 2 :])
    with pytest.raises(CheckpointError, match="missing"):
        load_generator(tmp_path / "network.pkl")
