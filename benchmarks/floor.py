"""The least that a synthesis must do: operations and bytes of every layer, counted from the shapes of its weights.

Counted as a perfectly fused implementation would run: a layer reads its input once and writes its output once, in the
precision of the convolutions; its weights are read once a batch; converting to RGB, the wavelet transform, noise, bias
and activation happen on the way and move nothing of their own; the image, in fp32, is read at half and written at full
size. A multiply-add is two operations; a transposed convolution is counted on its inputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from benchmarks.ceilings import Ceilings

_IMAGE_BYTES = 4  # a value of the image


@dataclass(frozen=True)
class Layer:
    """Operations and bytes of one layer for a whole batch."""

    name: str
    operations: float
    bytes: float


def synthesis_layers(weights: Mapping[str, torch.Tensor], batch: int, value_bytes: int) -> list[Layer]:
    """Return the layers of a StyleGAN2 or MobileStyleGAN, given its weights by canonical name.

    `value_bytes`: bytes of one activation or weight.
    """
    layers = []
    for name, weight in weights.items():
        match = re.fullmatch(r"synthesis\.b(\d+)\.(conv0|conv1|torgb|to_img)\.(weight|pointwise)", name)
        if not match:
            continue
        size, kind, separable = int(match[1]), match[2], match[3] == "pointwise"
        outputs, inputs = weight.shape[:2]
        taps = weight[0, 0].numel()
        taps_of_depthwise = 9 if separable else 0
        if kind == "torgb":
            layers.append(_to_rgb(name, batch, size, inputs, outputs, weight.numel() * value_bytes))
            continue
        transposed = kind == "conv0" and not separable
        inner = size // 2 if transposed or kind == "to_img" else size  # the resolution at which is multiplied
        operations = 2.0 * batch * inner**2 * inputs * (taps * outputs + taps_of_depthwise)
        read = batch * inputs * inner**2 * value_bytes
        if kind == "to_img":
            written = batch * outputs * inner**2 * _IMAGE_BYTES
        else:
            written = batch * outputs * size**2 * value_bytes
        parameters = (weight.numel() + inputs * taps_of_depthwise) * value_bytes
        layers.append(Layer(_layer_name(name), operations, float(read + written + parameters)))
    return layers


def _to_rgb(name: str, batch: int, size: int, inputs: int, outputs: int, parameters: int) -> Layer:
    operations = 2.0 * batch * size**2 * inputs * outputs
    below = size // 2 if size > 4 else 0
    image = batch * outputs * (size**2 + below**2) * _IMAGE_BYTES
    return Layer(_layer_name(name), operations, float(image + parameters))


def _layer_name(name: str) -> str:
    return ".".join(name.split(".")[1:3])


def floor_seconds(layers: Iterable[Layer], ceilings: Ceilings) -> float:
    """Return the least seconds of a synthesis, layer after layer."""
    return sum(ceilings.floor(layer.operations, layer.bytes) for layer in layers)


def floor_table(layers: Iterable[Layer], ceilings: Ceilings) -> list[dict[str, float | str]]:
    """Return each layer's operations, bytes, floor in seconds, and which of the two bounds it."""
    rows: list[dict[str, float | str]] = []
    for layer in layers:
        seconds = ceilings.floor(layer.operations, layer.bytes)
        arithmetic = layer.operations / ceilings.operations_per_second
        bound = "operations" if arithmetic >= layer.bytes / ceilings.bytes_per_second else "bytes"
        rows.append(
            {
                "layer": layer.name,
                "operations": layer.operations,
                "bytes": layer.bytes,
                "floor_s": seconds,
                "bound_by": bound,
            }
        )
    return rows
