"""What the pages' code runs on: small stand-ins for what is fetched or takes long, and the files they speak of."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_generators import ada_generator, dump, mobilestylegan_tensors, stylegan2_tensors
from torch import Tensor

import deltafast
from deltafast.delta.amounts import UNITS, AmountReader
from deltafast.editing import steering
from deltafast.generators.base import Generator
from deltafast.generators.build import build_generator
from deltafast.projection import projector
from deltafast.projection.encoder import Encoder, EncoderConfig
from deltafast.projection.refine import RefineResult
from deltafast.projection.sampling import slot_groups

_SIZE = 128  # pixels


@functools.lru_cache(maxsize=1)
def _generator() -> Generator:
    """MobileStyleGAN's layers with random weights, in FFHQ's W space, so that bundled editors take it."""
    config = {
        "architecture": "mobilestylegan",
        "img_resolution": _SIZE,
        "w_space": "stylegan2-ffhq",
        "name": "stand-in",
    }
    return build_generator(mobilestylegan_tensors(_SIZE, 512), config, "stand-in")


def _encoder(generator: Generator) -> Encoder:
    config = EncoderConfig(64, generator.num_ws, generator.w_dim, slot_groups(generator.num_ws), 16)
    encoder = Encoder(config, generator.w_space, generator.name).eval().requires_grad_(False)
    encoder.w_avg.copy_(generator.w_avg)
    return encoder


class _BrightnessReader(AmountReader):
    """Takes a picture's brightness for every attribute; no network is fetched."""

    def __init__(self, attributes: Sequence[str], device: object = "cpu") -> None:
        self.units = [UNITS[attribute] for attribute in attributes]

    def read(self, images: Tensor) -> Tensor:
        return 100 * images.flatten(1).mean(1, keepdim=True).expand(-1, len(self.units))


def _refined(self: projector.Projector, targets: Tensor, start: Tensor, **_: Any) -> RefineResult:
    """Steps of refinement without the networks that would look at the picture."""
    none = {"features": torch.zeros(len(start))}
    return RefineResult(start + 0.01, none, none, self.settings.refine.steps)


@pytest.fixture
def small_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder, the working one from now on, in which the pages' code runs as it is written."""
    load, render, train = deltafast.load_generator, deltafast.render_sequences, deltafast.train_editor

    def load_generator(name: Any, **options: Any) -> Generator:
        return _generator() if name == "mobilestylegan-ffhq" else load(name, **options)

    def render_sequences(out: Any, **options: Any) -> Any:
        return render(out, **{**options, "identities": 0, "frames": 3, "size": 32, "processes": 1})

    def train_editor(latents: Any, attribute: str, config: Any = None, **options: Any) -> Any:
        small = replace(config or deltafast.DeltaConfig(), steps=4)
        return train(latents, attribute, small, **options, plot=False)

    monkeypatch.setattr(deltafast, "load_generator", load_generator)
    monkeypatch.setattr(deltafast, "render_sequences", render_sequences)
    monkeypatch.setattr(deltafast, "train_editor", train_editor)
    monkeypatch.setattr(projector, "_bundled_encoder", lambda: _encoder(_generator()))
    monkeypatch.setattr(projector.Projector, "refine", _refined)
    monkeypatch.setattr(steering, "AmountReader", _BrightnessReader)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DELTAFAST_QUIET", "1")
    return tmp_path


@pytest.fixture
def pages_files(small_world: Path) -> Path:
    """The files that pages speak of, in the working folder."""
    folder = small_world
    torch.manual_seed(0)
    (folder / "network.pkl").write_bytes(dump({"G_ema": ada_generator(stylegan2_tensors(resolution=64), 64)}))
    (folder / "encoder").mkdir()
    _encoder(deltafast.load_generator("network.pkl")).save(folder / "encoder/encoder.safetensors")
    np.save(folder / "age.npy", np.random.default_rng(0).standard_normal(512).astype(np.float32))
    return folder


@pytest.fixture
def pages_photos(pages_files: Path) -> Path:
    """A photo with a face, and pictures of two people; skips where faces cannot be found."""
    pytest.importorskip("dlib", reason="the extra `photos` (dlib-bin) is not installed")
    data = pytest.importorskip("skimage.data", reason="scikit-image's astronaut is not here")
    photo = Image.fromarray(data.astronaut()[:300, 50:410])
    photo.save(pages_files / "holiday.jpg", quality=95)
    for person, shade in (("anna", 0.9), ("ben", 0.7)):
        (pages_files / "pictures" / person).mkdir(parents=True)
        for number in range(3):
            darker = photo.point(lambda value, by=shade - 0.1 * number: int(value * by))
            darker.save(pages_files / "pictures" / person / f"{number}.jpg", quality=95)
    return pages_files
