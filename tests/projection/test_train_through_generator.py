"""The encoder's second stage: images get closer, heads without latents count, and an interruption changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deltafast.errors import InvalidInputError, ResumeError
from deltafast.files import read_json, write_png
from deltafast.generators.base import Generator
from deltafast.projection import train_through_generator as module
from deltafast.projection.sampling import SampleConfig
from deltafast.projection.train_encoder import EncoderTraining, train_encoder
from deltafast.projection.train_through_generator import ImageTraining, train_through_generator

SAMPLES = SampleConfig(count=96, resolution=64, shard=16)
IMAGES = ImageTraining(steps=4, pairs=1, heads=1, lr=3e-4)
TRAINING = EncoderTraining(
    epochs=0, batch=16, input_resolution=64, held_out_shards=1, mixed_precision=False, images=IMAGES
)


class _StopError(Exception):
    pass


@pytest.fixture(autouse=True)
def _measured_on_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The distances before and after are those of four pictures: each takes three networks."""
    monkeypatch.setattr(module, "_MEASURED", 4)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty small pictures; what they show does not matter to the mechanics."""
    folder = tmp_path_factory.mktemp("heads")
    random = np.random.default_rng(0)
    for number in range(20):
        write_png(folder / "yaw" / f"{number:03d}.png", random.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    return folder


@pytest.mark.usefixtures("face_networks")
def test_pictures_that_it_trains_on_come_closer(tiny_generator: Generator, tmp_path: Path) -> None:
    encoder = train_encoder(tiny_generator, tmp_path, SAMPLES, replace(TRAINING, images=ImageTraining(steps=0)))
    shards = sorted((tmp_path / "pairs").glob("shard-*.safetensors"))[-1:]
    settings = ImageTraining(
        steps=10, pairs=4, heads=0, lr=1e-4, latent_weight=0.0, landmark_weight=0.0, identity_weight=0.0
    )
    figures = train_through_generator(
        tiny_generator, encoder, shards, shards, None, settings, state=tmp_path / "images.state.pt"
    )
    before, after = (
        figures[moment]["pairs"]["perceptual"] + settings.pixel_weight * figures[moment]["pairs"]["pixel"]
        for moment in ("before", "after")
    )
    assert after < 0.9 * before
    assert set(figures["after"]) == {"pairs"}


@pytest.mark.usefixtures("face_networks")
def test_an_interruption_changes_nothing(
    tiny_generator: Generator, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SAVE_EVERY", 2)
    whole = train_encoder(tiny_generator, tmp_path / "whole", SAMPLES, TRAINING, heads=heads)
    figures = read_json(tmp_path / "whole" / "training.json")["images"]
    assert set(figures["after"]["heads"]) == {"perceptual", "pixel", "landmark", "identity"}

    real = module._Stage.advance

    def stop_in_the_fourth(stage: module._Stage) -> None:
        if stage.step == 3:
            raise _StopError
        real(stage)

    monkeypatch.setattr(module._Stage, "advance", stop_in_the_fourth)
    with pytest.raises(_StopError):
        train_encoder(tiny_generator, tmp_path / "parts", SAMPLES, TRAINING, heads=heads)
    monkeypatch.setattr(module._Stage, "advance", real)
    parts = train_encoder(tiny_generator, tmp_path / "parts", SAMPLES, TRAINING, heads=heads)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name

    (tmp_path / "parts" / "images.state.pt").write_bytes(b"torn")
    with pytest.raises(ResumeError, match=r"images\.state\.pt is damaged"):
        train_encoder(tiny_generator, tmp_path / "parts", SAMPLES, TRAINING, heads=heads)


@pytest.mark.usefixtures("face_networks")
def test_a_folder_without_pictures_is_refused(tiny_generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="holds 0 pictures"):
        train_encoder(tiny_generator, tmp_path / "run", SAMPLES, TRAINING, heads=tmp_path)
