"""StyleGAN2 generators in the pickles of stylegan2-ada-pytorch and stylegan3."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.generators.checkpoints.weights import Weights
from deltafast.generators.equalised import MAPPING_LR_MULTIPLIER
from deltafast.untrusted.pickled_values import Record, foreign_name

__all__ = ["read_stylegan2_pickle"]

_MAX_MODULES = 10_000


def read_stylegan2_pickle(content: Any, path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Convert an unpickled checkpoint, `{"G_ema": ...}` or the generator itself, to canonical tensors and a config.

    Raises `CheckpointError` for other contents, and by name for StyleGAN3's and other unsupported architectures.
    """
    modules = dict(_walk(_generator(content, path), path))
    classes = {record.class_name for record in modules.values()}
    if "SynthesisInput" in classes or "synthesis.input" in modules:
        raise CheckpointError(
            path, "a generator of StyleGAN3 architecture, which is not supported; StyleGAN2 and MobileStyleGAN are"
        )
    if "synthesis" not in modules or "mapping" not in modules:
        raise CheckpointError(path, "the generator lacks a mapping or a synthesis network")
    values = {
        f"{prefix}.{name}" if prefix else name: value
        for prefix, record in modules.items()
        for group in ("_parameters", "_buffers")
        for name, value in _dict(record.state.get(group)).items()
        if isinstance(name, str) and value is not None
    }
    weights = Weights(values, path)
    resolution = _resolution(modules, path)
    multiplier = _number(modules, "mapping.fc0", "bias_gain", MAPPING_LR_MULTIPLIER)
    tensors = _mapping_tensors(modules, weights, multiplier, path)
    clamps = set()
    for size in (4 << k for k in range(resolution.bit_length() - 2)):
        block = modules.get(f"synthesis.b{size}")
        if block is None:
            raise CheckpointError(path, f"the synthesis network lacks its block b{size}")
        architecture = block.state.get("architecture", "skip")
        if architecture != "skip":
            raise CheckpointError(path, f"a synthesis network of architecture {_shown(architecture)}, expected 'skip'")
        for layer in ("conv0", "conv1") if size > 4 else ("conv1",):
            clamps.add(_layer(modules, weights, f"synthesis.b{size}.{layer}", size, tensors))
        clamps.add(_to_rgb(modules, weights, f"synthesis.b{size}.torgb", tensors))
    tensors["synthesis.b4.const"] = weights.shaped("synthesis.b4.const", None, 4, 4)
    if len(clamps) != 1:
        raise CheckpointError(path, f"layers of different conv_clamp ({sorted(map(str, clamps))[:4]}), expected one")
    tensors["synthesis.resample_filter"] = _resample_filter(weights, resolution)
    config = {
        "architecture": "stylegan2",
        "img_resolution": resolution,
        "conv_clamp": clamps.pop(),
        "mapping_lr_multiplier": multiplier,
    }
    return tensors, config


def _generator(content: Any, path: str | os.PathLike[str]) -> Record:
    if isinstance(content, Mapping):
        content = content.get("G_ema", content.get("G"))
    if isinstance(content, tuple) and len(content) == 3:
        raise CheckpointError(path, "a TensorFlow pickle (G, D, Gs); convert it with stylegan2-ada-pytorch's legacy.py")
    if (name := foreign_name(content)) is not None:
        raise CheckpointError(path, f"the generator is the foreign object {name!r}, which is not looked at")
    if not isinstance(content, Record):
        kind = type(content).__name__
        raise CheckpointError(path, f"no generator in it: expected a network under G_ema, found {kind}")
    return content


def _walk(root: Record, path: str | os.PathLike[str]) -> Iterator[tuple[str, Record]]:
    """Yield all modules below (and with) `root` by their dotted names."""
    waiting = [("", root)]
    count = 0
    while waiting:
        name, record = waiting.pop()
        count += 1
        if count > _MAX_MODULES or name.count(".") > 10:
            raise CheckpointError(path, f"more than {_MAX_MODULES} modules, or modules that contain themselves")
        yield name, record
        for key, child in _dict(record.state.get("_modules")).items():
            if isinstance(child, Record) and isinstance(key, str):
                waiting.append((f"{name}.{key}" if name else key, child))


def _shown(value: Any) -> str:
    """A value for an error message; never the text of a container, which may be without end."""
    return repr(value)[:40] if isinstance(value, (str, bool, float, type(None))) else f"a {type(value).__name__}"


def _dict(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _resolution(modules: Mapping[str, Record], path: str | os.PathLike[str]) -> int:
    resolution = modules["synthesis"].state.get("img_resolution")
    if type(resolution) is not int or resolution not in {2**k for k in range(3, 13)}:
        raise CheckpointError(path, f"img_resolution is {_shown(resolution)}, expected a power of two from 8 to 4096")
    return resolution


def _number(modules: Mapping[str, Record], module: str, name: str, default: float) -> float:
    """A positive number among a module's attributes."""
    record = modules.get(module)
    value = record.state.get(name, default) if record is not None else default
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if good else default


def _linear(
    modules: Mapping[str, Record], weights: Weights, name: str, out_features: int | None, multiplier: float
) -> tuple[Tensor, Tensor]:
    """A fully connected layer's weight `[out, in]` and bias `[out]`, for gains multiplier / sqrt(in) and multiplier."""
    weight = weights.shaped(f"{name}.weight", out_features, None)
    bias = weights.shaped(f"{name}.bias", weight.shape[0])
    expected = multiplier / math.sqrt(weight.shape[1] or 1)
    return (
        _with_gain(weight, _number(modules, name, "weight_gain", expected), expected),
        _with_gain(bias, _number(modules, name, "bias_gain", multiplier), multiplier),
    )


def _with_gain(tensor: Tensor, gain: float, expected: float) -> Tensor:
    """A tensor that the file multiplies by `gain`, for a network that multiplies by the usual one."""
    return tensor if math.isclose(gain, expected, rel_tol=1e-6) else tensor * (gain / expected)


def _mapping_tensors(
    modules: Mapping[str, Record], weights: Weights, multiplier: float, path: str | os.PathLike[str]
) -> dict[str, Tensor]:
    tensors = {"mapping.w_avg": weights.shaped("mapping.w_avg", None)}
    if "mapping.embed.weight" in weights:
        embed = _linear(modules, weights, "mapping.embed", None, 1.0)
        tensors["mapping.embed.weight"], tensors["mapping.embed.bias"] = embed
    k = 0
    while f"mapping.fc{k}.weight" in weights:
        name = f"mapping.fc{k}"
        record = modules.get(name)
        activation = record.state.get("activation", "lrelu") if record is not None else "lrelu"
        if activation != "lrelu":
            raise CheckpointError(path, f"{name} has the activation {_shown(activation)}, expected 'lrelu'")
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = _linear(modules, weights, name, None, multiplier)
        k += 1
    return tensors


def _layer(
    modules: Mapping[str, Record], weights: Weights, name: str, size: int, out: dict[str, Tensor]
) -> float | None:
    """Convert one synthesis layer; return its conv_clamp."""
    weight = weights.shaped(f"{name}.weight", None, None, 3, 3)  # [O, C, 3, 3]
    out[f"{name}.weight"] = weight
    out[f"{name}.bias"] = weights.shaped(f"{name}.bias", weight.shape[0])
    record = modules.get(name)
    if f"{name}.noise_const" in weights and (record is None or record.state.get("use_noise") is not False):
        out[f"{name}.noise_const"] = weights.shaped(f"{name}.noise_const", size, size)
        out[f"{name}.noise_strength"] = weights.shaped(f"{name}.noise_strength")
    else:  # a network trained without noise
        out[f"{name}.noise_const"] = torch.zeros(size, size)
        out[f"{name}.noise_strength"] = torch.zeros(())
    affine = _linear(modules, weights, f"{name}.affine", weight.shape[1], 1.0)
    out[f"{name}.affine.weight"], out[f"{name}.affine.bias"] = affine
    return _clamp(modules, name)


def _to_rgb(modules: Mapping[str, Record], weights: Weights, name: str, out: dict[str, Tensor]) -> float | None:
    """Convert one toRGB layer; return its conv_clamp."""
    weight = weights.shaped(f"{name}.weight", None, None, 1, 1)  # [channels, C, 1, 1]
    expected = 1 / math.sqrt(weight.shape[1] or 1)
    out[f"{name}.weight"] = _with_gain(weight, _number(modules, name, "weight_gain", expected), expected)
    out[f"{name}.bias"] = weights.shaped(f"{name}.bias", weight.shape[0])
    affine = _linear(modules, weights, f"{name}.affine", weight.shape[1], 1.0)
    out[f"{name}.affine.weight"], out[f"{name}.affine.bias"] = affine
    return _clamp(modules, name)


def _clamp(modules: Mapping[str, Record], name: str) -> float | None:
    value = _number(modules, name, "conv_clamp", 0.0)
    return value or None


def _resample_filter(weights: Weights, resolution: int) -> Tensor:
    for name in ("synthesis.b8.conv0.resample_filter", f"synthesis.b{resolution}.resample_filter"):
        if name in weights:
            taps = weights.get(name)
            return taps if taps.ndim == 2 else torch.outer(taps.flatten(), taps.flatten())
    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(row, row)
