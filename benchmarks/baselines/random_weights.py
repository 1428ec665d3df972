"""StyleGAN2 generators of any published size with random weights: speed does not depend on what they have learned."""

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
        t[f"mapping.fc{k}.weight"] = randn(_W_DIM, _W_DIM) / math.sqrt(_W_DIM)
        t[f"mapping.fc{k}.bias"] = torch.zeros(_W_DIM)

    def affine(name: str, channels: int, gain: float) -> None:
        t[f"synthesis.{name}.affine.weight"] = randn(channels, _W_DIM) * (gain / math.sqrt(_W_DIM))
        t[f"synthesis.{name}.affine.bias"] = torch.full((channels,), gain)

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
            affine(name, channels, 1.0)
            channels = outputs
        t[f"synthesis.b{size}.torgb.weight"] = randn(3, channels, 1, 1)
        t[f"synthesis.b{size}.torgb.bias"] = torch.zeros(3)
        affine(f"b{size}.torgb", channels, 1 / math.sqrt(channels))
        size *= 2
    return t
