"""Fixtures of the generators' tests."""

from __future__ import annotations

import pytest
import torch
from small_generators import mobilestylegan_tensors, stylegan2_tensors

from deltafast.generators.build import build_generator


@pytest.fixture
def tiny_stylegan2():
    """A function that builds a small random StyleGAN2; keyword arguments as `stylegan2_tensors`."""

    def build(*, conv_clamp=None, dtype=torch.float32, config=(), **options):
        tensors = stylegan2_tensors(**options)
        config = {"architecture": "stylegan2", "img_resolution": options.get("resolution", 16), **dict(config)}
        config["synthesis_architecture"] = options.get("architecture", "skip")
        return build_generator(tensors, {**config, "conv_clamp": conv_clamp}, "tiny").to(dtype)

    return build


@pytest.fixture
def tiny_mobilestylegan():
    """A function that builds a small random MobileStyleGAN; keyword arguments as `mobilestylegan_tensors`."""

    def build(*, dtype=torch.float32, **options):
        tensors = mobilestylegan_tensors(**options)
        config = {"architecture": "mobilestylegan", "img_resolution": options.get("resolution", 32)}
        return build_generator(tensors, config, "tiny").to(dtype)

    return build


@pytest.fixture(params=["stylegan2", "mobilestylegan"])
def tiny(request, tiny_stylegan2, tiny_mobilestylegan):
    """A builder for each kind of small generator in turn."""
    return {"stylegan2": tiny_stylegan2, "mobilestylegan": tiny_mobilestylegan}[request.param]
