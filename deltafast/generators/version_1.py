"""Version 1 of the canonical tensors: StyleGAN2's with the gains of an equalised learning rate multiplied in.

Files of version 1 are read by dividing them out again, and a generator's fingerprint stays the one of these tensors:
editors, latents and kept readings made since name it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from deltafast.generators.equalised import MAPPING_LR_MULTIPLIER

__all__ = ["from_version_1", "to_version_1"]

_Fold = Callable[[Tensor], Tensor]

_CONVOLUTION = re.compile(r"synthesis\.b[0-9]+\.conv[01]\.weight")


def to_version_1(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the canonical tensors of version 1 for those of a generator, to the bit what version 1 read."""
    folds = dict(_folds(tensors, config))
    return {name: folds[name](tensor) if name in folds else tensor for name, tensor in tensors.items()}


def from_version_1(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return today's canonical tensors and config for those of a file of version 1.

    Version 1 did not say whose parametrisation it came from: 3x3 weights of about unit size are NVIDIA's, those of
    about 1 / sqrt(inputs) rosinality's. Of the numbers that round to the given ones, those nearest are taken.
    """
    if config.get("architecture") != "stylegan2":
        return dict(tensors), dict(config)
    sizes = [
        math.log(max(float(t.square().mean().sqrt()), 1e-30)) / math.log(t[0].numel())
        for name, t in tensors.items()
        if _CONVOLUTION.fullmatch(name) and t.ndim > 1 and t.numel() > t.shape[0]
    ]  # 0 for unit size, -1/2 for 1 / sqrt(inputs)
    equalised = bool(sizes) and sum(sizes) / len(sizes) < -0.25
    config = {**config, "mapping_lr_multiplier": MAPPING_LR_MULTIPLIER, "equalised_convolutions": equalised}
    folds = dict(_folds(tensors, config))
    return {n: _unfolded(t, folds[n]) if n in folds else t for n, t in tensors.items()}, config


def _folds(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> Iterator[tuple[str, _Fold]]:
    """Yield the names of tensors that version 1 multiplied, and how, with its very roundings."""
    if config.get("architecture") != "stylegan2":
        return
    equalised = config.get("equalised_convolutions", False)
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        fan_in = tensor[0].numel() if tensor.ndim > 1 and tensor.shape[0] else 1
        if name.startswith("mapping.") and layer != "mapping":
            gain = 1.0 if layer == "mapping.embed" else config.get("mapping_lr_multiplier", MAPPING_LR_MULTIPLIER)
            yield name, _times(gain / math.sqrt(fan_in or 1) if kind == "weight" else gain)
        elif layer.endswith("torgb.affine"):
            rgb = 1 / math.sqrt(tensor.shape[0] or 1)
            if kind == "bias":
                yield name, _times(rgb)
            elif equalised:
                yield name, _times(rgb / math.sqrt(fan_in or 1))
            else:
                yield name, _times(1 / math.sqrt(fan_in or 1), rgb)
        elif layer.endswith(".affine") and kind == "weight":
            yield name, _times(1.0 / math.sqrt(fan_in or 1))
        elif equalised and _CONVOLUTION.fullmatch(name):
            yield name, _divided_by(math.sqrt(fan_in or 1))


def _times(*factors: float) -> _Fold:
    def fold(tensor: Tensor) -> Tensor:
        for factor in factors:
            tensor = tensor * factor
        return tensor

    return fold


def _divided_by(divisor: float) -> _Fold:
    return lambda tensor: tensor / divisor


def _unfolded(tensor: Tensor, fold: _Fold) -> Tensor:
    """Return fp32 numbers that `fold` to `tensor`, or to its neighbours where no number folds to it."""
    scale = float(fold(torch.ones((), dtype=torch.float64)))
    found = (tensor.double() / scale).to(tensor.dtype)
    wrong = fold(found) != tensor
    for towards in (math.inf, -math.inf):
        candidate = found
        for _ in range(2):
            candidate = torch.nextafter(candidate, torch.full_like(candidate, towards))
            better = wrong & (fold(candidate) == tensor)
            found = torch.where(better, candidate, found)
            wrong = wrong & ~better
    return found
