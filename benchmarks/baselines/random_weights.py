"""Generators of any size with random weights: speed does not depend on what they have learned."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deltafast.generators.base import Generator
from deltafast.generators.build import build_generator

CONFIG_E = 16384  # channel_base: channels times resolution, at most 512 channels
CONFIG_F = 32768

_WIDEST = 512
_W_DIM = 512


def random_stylegan2(img_resolution: int, channel_base: int, *, conv_clamp: float | None = None) -> Generator:
    """Return an fp32 StyleGAN2 of `img_resolution` with `min(channel_base / r, 512)` channels at resolution r.

    Weights are drawn as training begins: activations, styles and images have the sizes of a trained generator's.
    """
    config = {"architecture": "stylegan2", "img_resolution": img_resolution, "conv_clamp": conv_clamp}
    return build_generator(_tensors(img_resolution, channel_base), config, "random")


def _tensors(img_resolution: int, channel_base: int) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    t = {"mapping.w_avg": torch.zeros(_W_DIM)}
    for k in range(8):
        t[f"mapping.fc{k}.weight"] = randn(_W_DIM, _W_DIM) / 0.01  # the learning-rate multiplier
        t[f"mapping.fc{k}.bias"] = torch.zeros(_W_DIM)

    def affine(name: str, channels: int) -> None:
        t[f"synthesis.{name}.affine.weight"] = randn(channels, _W_DIM)
        t[f"synthesis.{name}.affine.bias"] = torch.ones(channels)

    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    t["synthesis.resample_filter"] = torch.outer(row, row)
    channels = min(channel_base // 4, _WIDEST)
    t["synthesis.b4.const"] = randn(channels, 4, 4)
    size = 4
    while size <= img_resolution:
        outputs = min(channel_base // size, _WIDEST)
        for layer in ("conv0", "conv1") if size > 4 else ("conv1",):
            name = f"b{size}.{layer}"
            t[f"synthesis.{name}.weight"] = randn(outputs, channels, 3, 3)
            t[f"synthesis.{name}.bias"] = randn(outputs) * 0.1
            t[f"synthesis.{name}.noise_const"] = randn(size, size)
            t[f"synthesis.{name}.noise_strength"] = torch.tensor(0.1)
            affine(name, channels)
            channels = outputs
        t[f"synthesis.b{size}.torgb.weight"] = randn(3, channels, 1, 1)
        t[f"synthesis.b{size}.torgb.bias"] = torch.zeros(3)
        affine(f"b{size}.torgb", channels)
        size *= 2
    return t


def random_mobilestylegan(img_resolution: int, channels: int) -> Generator:
    """Return an fp32 MobileStyleGAN of `img_resolution` with `channels` (a multiple of 4) in every convolution."""
    g = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    t = {"mapping.w_avg": torch.zeros(_W_DIM)}
    t["mapping.fc0.weight"], t["mapping.fc0.bias"] = randn(_W_DIM, _W_DIM) / math.sqrt(_W_DIM), torch.zeros(_W_DIM)

    def affine(name: str, width: int, gain: float) -> None:
        t[f"synthesis.{name}.affine.weight"] = randn(width, _W_DIM) * (gain / math.sqrt(_W_DIM))
        t[f"synthesis.{name}.affine.bias"] = torch.full((width,), gain)

    def convolution(name: str, size: int, inputs: int) -> None:
        t[f"synthesis.{name}.depthwise"] = randn(inputs, 1, 3, 3) / 3
        t[f"synthesis.{name}.pointwise"] = randn(channels, inputs, 1, 1) / math.sqrt(inputs)
        constants(name, size)
        affine(name, inputs, 1.0)

    def constants(name: str, size: int) -> None:
        t[f"synthesis.{name}.noise_const"] = randn(size, size) * 0.1
        t[f"synthesis.{name}.bias"] = randn(channels) * 0.1

    t["synthesis.input"] = randn(channels, 4, 4)
    t["synthesis.b4.conv1.weight"] = randn(channels, channels, 3, 3) / math.sqrt(9 * channels)
    constants("b4.conv1", 4)
    affine("b4.conv1", channels, 1.0)
    size = 8
    while size < img_resolution:
        affine(f"b{size}.up", channels, 0.5)
        convolution(f"b{size}.conv0", size, channels // 4)
        convolution(f"b{size}.conv1", size, channels)
        size *= 2
    t[f"synthesis.b{size}.to_img.weight"] = randn(12, channels, 1, 1) / math.sqrt(channels)
    t[f"synthesis.b{size}.to_img.bias"] = randn(12) * 0.1
    affine(f"b{size}.to_img", channels, 1.0)
    return build_generator(t, {"architecture": "mobilestylegan", "img_resolution": img_resolution}, "random")
