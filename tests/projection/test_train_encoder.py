"""Training an encoder: it learns, it goes on after an interruption to the same weights, and it says what differs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deltafast.errors import DownloadError, InvalidInputError, ResumeError
from deltafast.files import lock_file
from deltafast.generators.base import Generator
from deltafast.projection import load_encoder
from deltafast.projection import train_encoder as module
from deltafast.projection.augmentation import degrade
from deltafast.projection.backbone import load_imagenet_backbone
from deltafast.projection.sampling import SampleConfig
from deltafast.projection.train_encoder import EncoderTraining, train_encoder
from deltafast.projection.train_through_generator import ImageTraining

SAMPLES = SampleConfig(count=96, resolution=64, shard=16)
TRAINING = EncoderTraining(
    epochs=2,
    batch=16,
    input_resolution=64,
    held_out_shards=1,
    mixed_precision=False,
    images=ImageTraining(steps=0),
)


def test_a_folder_in_which_another_process_trains_is_left_alone(tiny_generator: Generator, tmp_path: Path) -> None:
    other = os.open(tmp_path, os.O_RDONLY)  # as another process would: flock is the open file's
    assert lock_file(other)
    try:
        with pytest.raises(ResumeError, match="another run is at work in"):
            train_encoder(tiny_generator, tmp_path, SAMPLES, TRAINING)
        assert not list(tmp_path.iterdir())
    finally:
        os.close(other)


class _StopError(Exception):
    pass


@pytest.fixture(scope="module", autouse=True)
def _backbone() -> None:
    try:
        load_imagenet_backbone()
    except DownloadError as error:
        pytest.skip(f"the backbone's ImageNet weights cannot be fetched: {error}")


def test_an_interrupted_training_ends_with_the_same_encoder(
    tiny_generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_encoder(tiny_generator, tmp_path / "whole", SAMPLES, TRAINING)
    real = module._Run.train_epoch

    def stop_in_the_second(run: module._Run) -> None:
        if run.epoch == 1:
            raise _StopError
        real(run)

    monkeypatch.setattr(module._Run, "train_epoch", stop_in_the_second)
    with pytest.raises(_StopError):
        train_encoder(tiny_generator, tmp_path / "parts", SAMPLES, TRAINING)
    monkeypatch.setattr(module._Run, "train_epoch", real)
    parts = train_encoder(tiny_generator, tmp_path / "parts", SAMPLES, TRAINING)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[name]), name
    loaded = load_encoder(tmp_path / "parts" / "encoder.safetensors")
    assert loaded.w_space == tiny_generator.w_space


def test_the_ridge_head_explains_part_of_what_it_was_fitted_to(tiny_generator: Generator, tmp_path: Path) -> None:
    shards = module.sample_pairs(tiny_generator, tmp_path, SAMPLES)
    encoder = module._new_encoder(tiny_generator, TRAINING, shards)
    module.fit_ridge_head(encoder, shards, TRAINING)
    run = module._Run(encoder, shards, replace(TRAINING, held_out_shards=5))  # measured on shards that it has seen
    assert min(run.held_out_r2()) > 0.3


def test_other_settings_and_damaged_states_are_refused(tiny_generator: Generator, tmp_path: Path) -> None:
    quick = replace(TRAINING, epochs=0)
    train_encoder(tiny_generator, tmp_path, SAMPLES, quick)
    with pytest.raises(ResumeError, match="seed"):
        train_encoder(tiny_generator, tmp_path, SAMPLES, replace(quick, seed=1))
    (tmp_path / "state.pt").write_bytes(b"torn")
    with pytest.raises(ResumeError, match=r"state\.pt is damaged"):
        train_encoder(tiny_generator, tmp_path, SAMPLES, quick)


def test_too_few_pairs_are_refused(tiny_generator: Generator, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="at least 192"):
        train_encoder(tiny_generator, tmp_path, SAMPLES, replace(TRAINING, held_out_shards=6))


def test_degraded_images_keep_their_shape_and_range_and_depend_on_the_seed_alone() -> None:
    images = torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first = degrade(images, torch.Generator().manual_seed(5))
    assert first.shape == images.shape
    assert float(first.abs().max()) <= 1
    assert torch.equal(first, degrade(images, torch.Generator().manual_seed(5)))
    assert not torch.equal(first, degrade(images, torch.Generator().manual_seed(6)))
