"""From canonical tensors to a generator, every name, shape and value checked."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.generators.base import Generator, SynthesisNetwork
from deltafast.generators.fingerprint import fingerprint_tensors
from deltafast.generators.mapping import MappingNetwork
from deltafast.generators.mobilestylegan import MobileStyleGANSynthesis, mobilestylegan_names
from deltafast.generators.stylegan2 import StyleGAN2Synthesis, stylegan2_slots

__all__ = ["build_generator"]


_MAX_MAPPING_LAYERS = 64


def build_generator(
    tensors: Mapping[str, Tensor],
    config: Mapping[str, Any],
    path: str | os.PathLike[str],
    fingerprint: str | None = None,
) -> Generator:
    """Build a generator (eval mode, no gradients for its weights) from canonical tensors and a config.

    `path` is named in errors. Raises `CheckpointError` for an unknown architecture, a missing or unexpected tensor,
    a wrong shape, or weights that are not finite.
    """
    checked = _Checked(tensors, path)
    architecture = config.get("architecture")
    resolution = config.get("img_resolution")
    if not isinstance(resolution, int) or resolution not in {2**k for k in range(3, 13)}:
        raise CheckpointError(path, f"img_resolution is {resolution!r}, expected a power of two from 8 to 4096")
    synthesis: SynthesisNetwork
    if architecture == "mobilestylegan":
        _check_mobilestylegan(checked, resolution)
        synthesis = MobileStyleGANSynthesis(tensors, resolution)
    elif architecture == "stylegan2":
        clamp = config.get("conv_clamp")
        if clamp is not None and not (isinstance(clamp, (int, float)) and 0 < clamp < math.inf):
            raise CheckpointError(path, f"conv_clamp is {clamp!r}, expected a positive number or none")
        _check_stylegan2(checked, resolution)
        synthesis = StyleGAN2Synthesis(tensors, resolution, clamp)
    else:
        raise CheckpointError(path, f"architecture {architecture!r} is not known, expected mobilestylegan or stylegan2")
    mapping = _build_mapping(checked, synthesis.num_ws, synthesis.w_dim)
    checked.finish()
    generator = Generator(mapping, synthesis, config=config, fingerprint=fingerprint or fingerprint_tensors(tensors))
    return generator.eval().requires_grad_(False)


class _Checked:
    """Canonical tensors, handed out with their shapes checked; `finish` finds those that nobody asked for."""

    def __init__(self, tensors: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
        self.tensors = tensors
        self.path = path
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def take(self, name: str, *shape: int | None) -> Tensor:
        """Return a tensor after checking its shape; None in `shape` allows any positive length."""
        if name not in self.tensors:
            raise CheckpointError(self.path, f"the weight {name} is missing")
        tensor = self.tensors[name]
        fits = len(tensor.shape) == len(shape) and all(
            found == expected if expected is not None else found > 0
            for found, expected in zip(tensor.shape, shape, strict=False)
        )
        if not fits:
            expected_text = "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"
            raise CheckpointError(self.path, f"{name} has shape {list(tensor.shape)}, expected {expected_text}")
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(self.path, f"{name} holds values that are not finite (NaN or infinity)")
        self._taken.add(name)
        return tensor

    def finish(self) -> None:
        unexpected = sorted(set(self.tensors) - self._taken)
        if unexpected:
            raise CheckpointError(self.path, f"unexpected weight {unexpected[0]} ({len(unexpected)} in all)")


def _build_mapping(checked: _Checked, num_ws: int, w_dim: int) -> MappingNetwork:
    w_avg = checked.take("mapping.w_avg", w_dim)
    embed = None
    if "mapping.embed.weight" in checked:
        weight = checked.take("mapping.embed.weight", None, None)
        embed = (weight, checked.take("mapping.embed.bias", weight.shape[0]))
    weights: list[Tensor] = []
    biases: list[Tensor] = []
    for k in range(_MAX_MAPPING_LAYERS):
        if f"mapping.fc{k}.weight" not in checked:
            break
        weights.append(checked.take(f"mapping.fc{k}.weight", None, weights[-1].shape[0] if weights else None))
        biases.append(checked.take(f"mapping.fc{k}.bias", weights[-1].shape[0]))
    if not weights:
        raise CheckpointError(checked.path, "the mapping network has no layers (mapping.fc0.weight is missing)")
    if weights[-1].shape[0] != w_dim:
        found = weights[-1].shape[0]
        raise CheckpointError(checked.path, f"the mapping network ends with {found} components, expected {w_dim}")
    if embed is not None and weights[0].shape[1] <= embed[0].shape[0]:
        raise CheckpointError(checked.path, "the mapping network's first layer is narrower than the label's embedding")
    return MappingNetwork(weights, biases, num_ws=num_ws, w_avg=w_avg, embed=embed)


def _check_affine(checked: _Checked, layer: str, channels: int, w_dim: int | None) -> int:
    """Check an affine layer's shapes; return its w_dim."""
    w_dim = checked.take(f"{layer}.affine.weight", channels, w_dim).shape[1]
    checked.take(f"{layer}.affine.bias", channels)
    return w_dim


def _check_stylegan2(checked: _Checked, resolution: int) -> None:
    channels = checked.take("synthesis.b4.const", None, 4, 4).shape[0]
    size = checked.take("synthesis.resample_filter", None, None).shape
    if size[0] != size[1] or not 2 <= size[0] <= 64:
        raise CheckpointError(checked.path, f"the up-sampling filter is {list(size)}, expected [k, k], k = 2..64")
    w_dim: int | None = None
    outputs: int | None = None
    for name in stylegan2_slots(resolution)[:-1]:
        layer = f"synthesis.{name}"
        size_of_block = int(name.partition(".")[0][1:])
        w_dim = _check_affine(checked, layer, channels, w_dim)
        channels = checked.take(f"{layer}.weight", None, channels, 3, 3).shape[0]
        checked.take(f"{layer}.bias", channels)
        checked.take(f"{layer}.noise_const", size_of_block, size_of_block)
        checked.take(f"{layer}.noise_strength")
        if name.endswith("conv1"):
            torgb = layer.replace("conv1", "torgb")
            _check_affine(checked, torgb, channels, w_dim)
            outputs = checked.take(f"{torgb}.weight", outputs, channels, 1, 1).shape[0]
            checked.take(f"{torgb}.bias", outputs)


def _check_mobilestylegan(checked: _Checked, resolution: int) -> None:
    convolutions, ups, _ = mobilestylegan_names(resolution)
    channels = checked.take("synthesis.input", None, 4, 4).shape[0]
    w_dim = checked.take("synthesis.b4.conv1.affine.weight", channels, None).shape[1]
    for name in [*convolutions, *ups]:
        if name.endswith("up"):
            continue
        layer = f"synthesis.{name}"
        size = int(name.partition(".")[0][1:])
        if name.endswith("conv0"):  # reads what the up-sampling made of the layer before
            if channels % 4:
                raise CheckpointError(checked.path, f"{layer} follows {channels} channels, expected a multiple of 4")
            up = layer.replace("conv0", "up")
            checked.take(f"{up}.affine.weight", channels, w_dim)
            checked.take(f"{up}.affine.bias", channels)
            channels //= 4
        checked.take(f"{layer}.affine.weight", channels, w_dim)
        checked.take(f"{layer}.affine.bias", channels)
        if name == "b4.conv1":
            channels = checked.take(f"{layer}.weight", None, channels, 3, 3).shape[0]
        else:
            checked.take(f"{layer}.depthwise", channels, 1, 3, 3)
            channels = checked.take(f"{layer}.pointwise", None, channels, 1, 1).shape[0]
        checked.take(f"{layer}.bias", channels)
        checked.take(f"{layer}.noise_const", size, size)
    image = f"synthesis.b{resolution}.to_img"
    outputs = checked.take(f"{image}.weight", None, channels, 1, 1).shape[0]
    if outputs % 4:
        raise CheckpointError(checked.path, f"{image}.weight makes {outputs} channels, expected a multiple of 4")
    checked.take(f"{image}.bias", outputs)
    checked.take(f"{image}.affine.weight", channels, w_dim)
    checked.take(f"{image}.affine.bias", channels)
