"""`deltafast train-encoder`: by one command an encoder for a generator of one's own, whatever its images are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_generators import stylegan2_tensors_of_channels
from typer.testing import CliRunner

import deltafast.projection.sampling
import deltafast.projection.train_encoder
from deltafast.cli import app
from deltafast.errors import DownloadError
from deltafast.files import read_json, write_png
from deltafast.generators.base import Generator
from deltafast.generators.build import build_generator
from deltafast.generators.load import save_generator
from deltafast.projection.backbone import load_imagenet_backbone
from deltafast.projection.sampling import SampleConfig, read_pairs
from deltafast.projection.train_encoder import EncoderTraining


@pytest.fixture(autouse=True)
def _small(face_networks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer and smaller pairs than the command asks for, and no compiler."""
    try:
        load_imagenet_backbone()
    except DownloadError as error:
        pytest.skip(f"the backbone's ImageNet weights cannot be fetched: {error}")

    def samples(**options: Any) -> SampleConfig:
        return SampleConfig(**{**options, "count": 12, "shard": 4})

    def training(**options: Any) -> EncoderTraining:
        return EncoderTraining(
            **options, batch=4, input_resolution=64, held_out_shards=1, hidden=8, mixed_precision=False
        )

    monkeypatch.setattr(deltafast.projection.sampling, "SampleConfig", samples)
    monkeypatch.setattr(deltafast.projection.train_encoder, "EncoderTraining", training)
    monkeypatch.setattr(Generator, "compiled", lambda generator: generator.synthesis)


def _run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.mark.parametrize(("channels", "c_dim", "class_index"), [(1, 0, None), (4, 3, None), (3, 3, 2)])
def test_generators_of_all_channels_and_classes_get_an_encoder(
    channels: int, c_dim: int, class_index: int | None, tmp_path: Path
) -> None:
    tensors = stylegan2_tensors_of_channels(channels, resolution=64, c_dim=c_dim)
    save_generator(
        build_generator(tensors, {"architecture": "stylegan2", "img_resolution": 64}, "own"), tmp_path / "g.safetensors"
    )
    words = ["train-encoder", tmp_path / "g.safetensors", tmp_path / "out", "--epochs", "1", "--image-steps", "1"]
    code, text = _run(*words, *([] if class_index is None else ["--class", class_index]))
    assert code == 0, text
    assert read_json(tmp_path / "out" / "pairs" / "sampling.json")["class_index"] == class_index
    images = next(read_pairs([tmp_path / "out" / "pairs" / "shard-00000.safetensors"]))[1]
    assert images.shape == (4, 3, 64, 64)
    assert (channels == 1) == bool((images[:, :1] == images).all())  # grey, as three equal channels
    assert len(read_json(tmp_path / "out" / "training.json")["history"]) == 2
    write_png(tmp_path / "photos" / "a.png", np.zeros((64, 64, 3), np.uint8))
    options = ["--generator", tmp_path / "g.safetensors", "--encoder", tmp_path / "out" / "encoder.safetensors"]
    code, text = _run(
        "project", tmp_path / "photos", tmp_path / "latents", *options, "--steps", "0", "--align", "never"
    )
    assert code == 0, text


def test_a_class_that_there_is_not_ends_in_one_line(tmp_path: Path) -> None:
    for c_dim, words in ((0, "is not conditional"), (3, "0 to 2")):
        tensors = stylegan2_tensors_of_channels(3, resolution=64, c_dim=c_dim)
        generator = build_generator(tensors, {"architecture": "stylegan2", "img_resolution": 64}, "own")
        save_generator(generator, tmp_path / "g.safetensors")
        code, text = _run("train-encoder", tmp_path / "g.safetensors", tmp_path / f"out{c_dim}", "--class", 3)
        assert code == 1
        assert words in text
