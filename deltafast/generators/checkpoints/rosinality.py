"""StyleGAN2 as rosinality/stylegan2-pytorch names it, also inside encoder4editing and pSp checkpoints."""

from __future__ import annotations

import itertools
import logging
import math
import os
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.generators.checkpoints.found import Found
from deltafast.generators.checkpoints.weights import Weights, only_row
from deltafast.generators.equalised import MAPPING_LR_MULTIPLIER
from deltafast.generators.mapping import estimate_w_avg
from deltafast.untrusted.checks import shown

__all__ = ["read_rosinality"]

_log = logging.getLogger("deltafast.checkpoints")
_NOISE_SEED = 0
_MAX_BLOCKS = 10
_SAME = 1e-5  # of filter taps that are meant to be equal
# what a whole module's attributes must be, where it has them: the end of its name, the attribute, its value
_ATTRIBUTES = (
    (".activate", "negative_slope", 0.2),
    (".activate", "scale", math.sqrt(2)),
    (".conv", "eps", 1e-8),
    (".conv", "downsample", False),
)


def read_rosinality(found: Found, path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Convert a generator to canonical tensors and a config.

    Where there is no mean latent it is computed from the mapping network (where there is one that is no single code
    too, which the logger "deltafast.checkpoints" says); where there are no noise images (old files)
    they are drawn from N(0, 1) with a fixed seed, as the original draws its own. Raises `CheckpointError` for
    whatever changes the image and is not supported.
    """
    weights = Weights(found.values, path)
    _check_attributes(found, path)
    multiplier = _multiplier(found, path)
    tensors = _mapping_tensors(weights)
    w_dim = tensors["mapping.fc0.bias"].shape[0]
    tensors["mapping.w_avg"] = _w_avg(found, tensors, multiplier, path)
    blocks = _count(found.values, r"to_rgbs\.([0-9]{1,3})\.conv\.weight")
    if blocks == 0:
        raise CheckpointError(path, "the weight to_rgbs.0.conv.weight is missing")
    if blocks > _MAX_BLOCKS:
        raise CheckpointError(path, f"{blocks} up-sampling blocks, expected at most {_MAX_BLOCKS} (4096 x 4096 pixels)")
    const = weights.shaped("input.input", 1, None, 4, None)[0]  # [C, 4, w]
    tensors["synthesis.b4.const"] = const
    width = const.shape[2]
    _layer(weights, "conv1", "b4.conv1", (4, width), 0, tensors)
    _to_rgb(weights, "to_rgb1", "b4", tensors)
    for block in range(blocks):
        size = 8 << block
        shape = (size, size * width // 4)
        _layer(weights, f"convs.{2 * block}", f"b{size}.conv0", shape, 2 * block + 1, tensors)
        _layer(weights, f"convs.{2 * block + 1}", f"b{size}.conv1", shape, 2 * block + 2, tensors)
        _to_rgb(weights, f"to_rgbs.{block}", f"b{size}", tensors)
    tensors["synthesis.resample_filter"] = _filter(weights, blocks)
    if w_dim != tensors["synthesis.b4.conv1.affine.weight"].shape[1]:
        raise CheckpointError(path, f"the mapping network makes {w_dim} components, the synthesis network reads others")
    rest = [name for name in weights.unread() if not name.startswith("noises.")]
    if rest:
        text = f"a network with weights that StyleGAN2 has not: {shown(rest[0])} ({len(rest)} in all)"
        raise CheckpointError(path, text)
    return tensors, {
        "architecture": "stylegan2",
        "img_resolution": 4 << blocks,
        "conv_clamp": None,
        "mapping_lr_multiplier": multiplier,
        "equalised_convolutions": True,
    }


def _check_attributes(found: Found, path: str | os.PathLike[str]) -> None:
    """Refuse a whole module that computes otherwise than a state dict is read."""
    for name, attributes in found.attributes.items():
        for end, attribute, expected in _ATTRIBUTES:
            value = attributes.get(attribute, expected)
            if f".{name}".endswith(end) and not (
                isinstance(value, (int, float)) and math.isclose(value, expected, rel_tol=_SAME)
            ):
                raise CheckpointError(path, f"{name} has {attribute} {shown(value)}, expected {expected}")
        if f".{name}".endswith(".conv"):
            expected_demodulation = not name.startswith("to_rgb")
            if attributes.get("demodulate", expected_demodulation) is not expected_demodulation:
                raise CheckpointError(path, f"{name} has demodulate {shown(attributes['demodulate'])}")


def _multiplier(found: Found, path: str | os.PathLike[str]) -> float:
    """The learning-rate multiplier of the mapping network."""
    value = found.attributes.get("style.1", {}).get("lr_mul", MAPPING_LR_MULTIPLIER)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
        raise CheckpointError(path, f"style.1 has lr_mul {shown(value)}, expected a positive number")
    return float(value)


def _mapping_tensors(weights: Weights) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    k = 0
    while f"style.{k + 1}.weight" in weights:
        weight = weights.shaped(f"style.{k + 1}.weight", None, None)  # [out, in]
        tensors[f"mapping.fc{k}.weight"] = weight
        tensors[f"mapping.fc{k}.bias"] = weights.shaped(f"style.{k + 1}.bias", weight.shape[0])
        k += 1
    return tensors


def _w_avg(found: Found, tensors: Mapping[str, Tensor], multiplier: float, path: str | os.PathLike[str]) -> Tensor:
    """The mean latent, given as `[512]`, `[1, 512]` or repeated for every slot; computed where there is none."""
    given = next((around["latent_avg"] for around in found.around if around.get("latent_avg") is not None), None)
    if given is not None:
        mean = Weights({"latent_avg": given}, path).get("latent_avg")
        w_dim = tensors["mapping.fc0.bias"].shape[0]
        row = only_row(mean) if mean.ndim and mean.shape[-1] == w_dim else None
        if row is not None:
            return row
        _log.warning(
            "%s: latent_avg %s is not one code of %d components, repeated; the mean code is estimated from the mapping "
            "network instead",
            path,
            list(mean.shape),
            w_dim,
        )
    layers = range(len(tensors) // 2)
    weights = [tensors[f"mapping.fc{k}.weight"] for k in layers]
    weights = [weight * (multiplier / math.sqrt(weight.shape[1] or 1)) for weight in weights]
    biases = [tensors[f"mapping.fc{k}.bias"] * multiplier for k in layers]
    if any(before.shape[0] != after.shape[1] for before, after in itertools.pairwise(weights)):
        raise CheckpointError(path, "the layers of the mapping network do not fit each other")
    return estimate_w_avg(weights, biases)


def _layer(
    weights: Weights, source: str, target: str, shape: tuple[int, int], noise: int, out: dict[str, Tensor]
) -> None:
    weight = weights.shaped(f"{source}.conv.weight", 1, None, None, 3, 3)[0]  # [O, C, 3, 3]
    out[f"synthesis.{target}.weight"] = weight
    out[f"synthesis.{target}.bias"] = weights.shaped(f"{source}.activate.bias", weight.shape[0])
    out[f"synthesis.{target}.noise_strength"] = weights.shaped(f"{source}.noise.weight", 1)[0]
    if f"noises.noise_{noise}" in weights:
        image = weights.shaped(f"noises.noise_{noise}", 1, 1, *shape)[0, 0]  # [H, W]
    else:
        image = torch.randn(shape, generator=torch.Generator().manual_seed(_NOISE_SEED + noise))
    out[f"synthesis.{target}.noise_const"] = image
    _affine(weights, source, target, weight.shape[1], out)


def _to_rgb(weights: Weights, source: str, block: str, out: dict[str, Tensor]) -> None:
    weight = weights.shaped(f"{source}.conv.weight", 1, None, None, 1, 1)[0]  # [channels, C, 1, 1]
    out[f"synthesis.{block}.torgb.weight"] = weight
    out[f"synthesis.{block}.torgb.bias"] = weights.shaped(f"{source}.bias", 1, weight.shape[0], 1, 1).flatten()
    _affine(weights, source, f"{block}.torgb", weight.shape[1], out)


def _affine(weights: Weights, source: str, target: str, channels: int, out: dict[str, Tensor]) -> None:
    out[f"synthesis.{target}.affine.weight"] = weights.shaped(f"{source}.conv.modulation.weight", channels, None)
    out[f"synthesis.{target}.affine.bias"] = weights.shaped(f"{source}.conv.modulation.bias", channels)


def _filter(weights: Weights, blocks: int) -> Tensor:
    """The filter that all layers up-sample with, `[k, k]`, its gain taken out; (1, 3, 3, 1) where a file has none."""
    names = [f"convs.{2 * block}.conv.blur.kernel" for block in range(blocks)]
    names += [f"to_rgbs.{block}.upsample.kernel" for block in range(blocks)]
    filters = [weights.shaped(name, None, None) / 4 for name in names if name in weights]  # [k, k] each
    if not filters:
        row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        return torch.outer(row, row)
    first = filters[0]
    if any(taps.shape != first.shape or not torch.allclose(taps, first, atol=_SAME) for taps in filters):
        raise CheckpointError(weights.path, "layers that up-sample with different blur kernels, expected one")
    if not math.isclose(float(first.sum()), 1.0, rel_tol=1e-4):
        raise CheckpointError(weights.path, f"a blur kernel that sums to {float(first.sum()) * 4:.4g}, expected 4")
    return first


def _count(names: Mapping[str, Any], pattern: str) -> int:
    """How many of 0, 1, 2, ... appear in `pattern` among the names, without a gap."""
    found = {int(match.group(1)) for name in names if isinstance(name, str) and (match := re.fullmatch(pattern, name))}
    return next(k for k in range(len(found) + 1) if k not in found)
