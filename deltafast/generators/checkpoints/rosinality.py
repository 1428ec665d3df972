"""StyleGAN2 as rosinality/stylegan2-pytorch names it, also inside encoder4editing and pSp checkpoints."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.generators.checkpoints.weights import Weights, only_row
from deltafast.generators.equalised import MAPPING_LR_MULTIPLIER
from deltafast.generators.mapping import estimate_w_avg
from deltafast.untrusted.pickled_values import foreign_name

__all__ = ["read_rosinality"]

_NOISE_SEED = 0
_MAX_BLOCKS = 10


def read_rosinality(content: Any, path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Convert the content of a `.pt` file to canonical tensors and a config.

    Understood: `{"g_ema": ..., "latent_avg": ...}` (or "g"), `{"state_dict": {"decoder.*": ...}, "latent_avg": ...}`
    of encoder4editing and pSp, and a bare state dict of either. Where there is no mean latent it is computed from
    the mapping network; where there are no noise images (old files) they are drawn from N(0, 1) with a fixed seed,
    as the original draws its own. Raises `CheckpointError` for anything else.
    """
    state, latent_avg = _find_generator(content, path)
    weights = Weights(state, path)
    tensors = _mapping_tensors(weights)
    w_dim = tensors["mapping.fc0.bias"].shape[0]
    tensors["mapping.w_avg"] = _w_avg(latent_avg, tensors, path)
    blocks = _count(state, r"to_rgbs\.([0-9]{1,3})\.conv\.weight")
    if blocks == 0:
        raise CheckpointError(path, "the weight to_rgbs.0.conv.weight is missing")
    if blocks > _MAX_BLOCKS:
        raise CheckpointError(path, f"{blocks} up-sampling blocks, expected at most {_MAX_BLOCKS} (4096 x 4096 pixels)")
    _layer(weights, "conv1", "b4.conv1", 4, 0, tensors)
    _to_rgb(weights, "to_rgb1", "b4", tensors)
    tensors["synthesis.b4.const"] = weights.shaped("input.input", 1, None, 4, 4)[0]  # [C, 4, 4]
    for block in range(blocks):
        size = 8 << block
        _layer(weights, f"convs.{2 * block}", f"b{size}.conv0", size, 2 * block + 1, tensors)
        _layer(weights, f"convs.{2 * block + 1}", f"b{size}.conv1", size, 2 * block + 2, tensors)
        _to_rgb(weights, f"to_rgbs.{block}", f"b{size}", tensors)
    taps = weights.shaped("convs.0.conv.blur.kernel", None, None) / 4  # [k, k]; the gain of up-sampling taken out
    tensors["synthesis.resample_filter"] = taps
    if w_dim != tensors["synthesis.b4.conv1.affine.weight"].shape[1]:
        raise CheckpointError(path, f"the mapping network makes {w_dim} components, the synthesis network reads others")
    config = {
        "architecture": "stylegan2",
        "img_resolution": 4 << blocks,
        "conv_clamp": None,
        "mapping_lr_multiplier": MAPPING_LR_MULTIPLIER,
        "equalised_convolutions": True,
    }
    return tensors, config


def _find_generator(content: Any, path: str | os.PathLike[str]) -> tuple[Mapping[str, Any], Any]:
    for value in (content, *(content.values() if isinstance(content, Mapping) else ())):
        if (name := foreign_name(value)) is not None and not isinstance(content.get("g_ema"), Mapping):
            raise CheckpointError(path, f"the generator is the foreign object {name!r}, which is not looked at")
    if not isinstance(content, Mapping):
        raise CheckpointError(path, f"holds a {type(content).__name__}, expected a dict with g_ema or state_dict")
    latent_avg = content.get("latent_avg")
    for key in ("g_ema", "g", "state_dict"):
        if isinstance(content.get(key), Mapping):
            state = content[key]
            break
    else:
        state = content
    decoder = {
        name.removeprefix("decoder."): value
        for name, value in state.items()
        if isinstance(name, str) and name.startswith("decoder.")
    }
    state = decoder or state
    if "style.1.weight" not in state:
        found = ", ".join(str(key)[:40] for key in list(content)[:6])
        raise CheckpointError(
            path, f"no StyleGAN2 generator in it (keys: {found}); expected g_ema, decoder.* or style.1.weight"
        )
    return state, latent_avg


def _mapping_tensors(weights: Weights) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    k = 0
    while f"style.{k + 1}.weight" in weights:
        weight = weights.shaped(f"style.{k + 1}.weight", None, None)  # [out, in]
        tensors[f"mapping.fc{k}.weight"] = weight
        tensors[f"mapping.fc{k}.bias"] = weights.shaped(f"style.{k + 1}.bias", weight.shape[0])
        k += 1
    return tensors


def _w_avg(latent_avg: Any, tensors: Mapping[str, Tensor], path: str | os.PathLike[str]) -> Tensor:
    """The mean latent, given as `[512]`, `[1, 512]` or repeated for every slot; computed where there is none."""
    if latent_avg is not None:
        given = Weights({"latent_avg": latent_avg}, path).get("latent_avg")
        w_dim = tensors["mapping.fc0.bias"].shape[0]
        row = only_row(given) if given.ndim and given.shape[-1] == w_dim else None
        if row is not None:
            return row
    layers = range(len(tensors) // 2)
    weights = [tensors[f"mapping.fc{k}.weight"] for k in layers]
    weights = [weight * (MAPPING_LR_MULTIPLIER / math.sqrt(weight.shape[1] or 1)) for weight in weights]
    biases = [tensors[f"mapping.fc{k}.bias"] * MAPPING_LR_MULTIPLIER for k in layers]
    if any(before.shape[0] != after.shape[1] for before, after in itertools.pairwise(weights)):
        raise CheckpointError(path, "the layers of the mapping network do not fit each other")
    return estimate_w_avg(weights, biases)


def _layer(weights: Weights, source: str, target: str, size: int, noise: int, out: dict[str, Tensor]) -> None:
    weight = weights.shaped(f"{source}.conv.weight", 1, None, None, 3, 3)[0]  # [O, C, 3, 3]
    out[f"synthesis.{target}.weight"] = weight
    out[f"synthesis.{target}.bias"] = weights.shaped(f"{source}.activate.bias", weight.shape[0])
    out[f"synthesis.{target}.noise_strength"] = weights.shaped(f"{source}.noise.weight", 1)[0]
    if f"noises.noise_{noise}" in weights:
        image = weights.shaped(f"noises.noise_{noise}", 1, 1, size, size)[0, 0]  # [H, W]
    else:
        image = torch.randn(size, size, generator=torch.Generator().manual_seed(_NOISE_SEED + noise))
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


def _count(names: Mapping[str, Any], pattern: str) -> int:
    """How many of 0, 1, 2, ... appear in `pattern` among the names, without a gap."""
    found = {int(match.group(1)) for name in names if isinstance(name, str) and (match := re.fullmatch(pattern, name))}
    return next(k for k in range(len(found) + 1) if k not in found)
