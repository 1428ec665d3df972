"""MobileStyleGAN-FFHQ out of the wheel `random-face`: OpenVINO IR, an XML graph beside raw fp32 weights.

Nothing of the wheel is imported or executed, and no OpenVINO is needed: the graph only says which bytes are what.
"""

from __future__ import annotations

import math
import os
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.files import sha256_file
from deltafast.generators.mapping import estimate_w_avg

__all__ = ["WHEEL_SHA256", "read_mobilestylegan_wheel"]

WHEEL_SHA256 = "e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5"
_DTYPES = {"f32": np.float32, "i64": np.int64, "i32": np.int32}
_RESOLUTION = 1024


@dataclass
class _Graph:
    """An IR graph: layer ids by type in file order, constants by layer id, inputs by layer id."""

    types: dict[str, str]
    names: dict[str, str]
    constants: dict[str, Tensor]
    inputs: dict[str, list[str]]

    def of_type(self, kind: str) -> list[str]:
        return [i for i, t in self.types.items() if t == kind]

    def constant_input(self, layer: str) -> Tensor:
        """The constant among the inputs of a layer."""
        return next(self.constants[i] for i in self.inputs[layer] if i in self.constants)

    def addition_after(self, layer: str) -> str:
        """The addition that reads a layer's output."""
        return next(i for i in self.of_type("Add") if layer in self.inputs[i])


def read_mobilestylegan_wheel(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the canonical tensors and the config of MobileStyleGAN-FFHQ 1024x1024 from its wheel.

    Raises `CheckpointError` unless the file's sha256 is the published one.
    """
    found = sha256_file(path)
    if found != WHEEL_SHA256:
        raise CheckpointError(path, f"not the wheel random-face 2021.7.21.1: sha256 is {found}, not {WHEEL_SHA256}")
    with zipfile.ZipFile(path) as archive:
        tensors = _mapping_tensors(_read_graph(archive, "MappingNetwork"))
        tensors.update(_synthesis_tensors(_read_graph(archive, "SynthesisNetwork")))
    config = {
        "architecture": "mobilestylegan",
        "img_resolution": _RESOLUTION,
        "name": "mobilestylegan-ffhq",
        "w_space": "stylegan2-ffhq",
    }
    return tensors, config


def _read_graph(archive: zipfile.ZipFile, name: str) -> _Graph:
    root = ElementTree.fromstring(archive.read(f"random_face/data/{name}.xml"))
    weights = archive.read(f"random_face/data/{name}.bin")
    graph = _Graph({}, {}, {}, {})
    for layer in root.iterfind("layers/layer"):
        identity = layer.attrib["id"]
        graph.types[identity] = layer.attrib["type"]
        graph.names[identity] = layer.attrib["name"]
        data = layer.find("data")
        if layer.attrib["type"] == "Const" and data is not None:
            dtype = np.dtype(_DTYPES[data.attrib["element_type"]])
            count = int(data.attrib["size"]) // dtype.itemsize
            array = np.frombuffer(weights, dtype, count, int(data.attrib["offset"]))
            shape = [int(n) for n in data.attrib["shape"].split(",")] if data.attrib["shape"] else []
            graph.constants[identity] = torch.from_numpy(array.reshape(shape).copy())
    edges = [
        (int(e.attrib["to-port"]), e.attrib["to-layer"], e.attrib["from-layer"]) for e in root.iterfind("edges/edge")
    ]
    for _, target, source in sorted(edges, key=lambda edge: edge[0]):
        graph.inputs.setdefault(target, []).append(source)
    return graph


def _mapping_tensors(graph: _Graph) -> dict[str, Tensor]:
    weights = [graph.constant_input(i) for i in graph.of_type("MatMul")]  # [512, 512] each
    biases = [graph.constants[graph.inputs[i][0]] for i in graph.of_type("Reshape")]  # [512] each
    tensors = {"mapping.w_avg": estimate_w_avg(weights, biases)}
    for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        tensors[f"mapping.fc{k}.weight"] = weight
        tensors[f"mapping.fc{k}.bias"] = bias
    return tensors


def _synthesis_tensors(graph: _Graph) -> dict[str, Tensor]:
    named = {graph.names[i].removeprefix("m."): tensor for i, tensor in graph.constants.items()}
    blocks = sum(f"layers.{i}.up.modulation.weight" in named for i in range(32))
    theirs = ["conv1"] + [f"layers.{i}.{layer}" for i in range(blocks) for layer in ("conv1", "conv2")]
    ours = ["b4.conv1"] + [f"b{8 << i}.{layer}" for i in range(blocks) for layer in ("conv0", "conv1")]
    out: dict[str, Tensor] = {"input": named["input.input"][0]}

    def affine(source: str, target: str, scale: float, order: Tensor | None = None) -> None:
        weight, bias = (
            named[f"{source}.modulation.weight"] * scale,
            named[f"{source}.modulation.bias"].flatten() * scale,
        )
        out[f"{target}.affine.weight"] = weight if order is None else weight[order]  # [C, 512]
        out[f"{target}.affine.bias"] = bias if order is None else bias[order]  # [C]

    # The weights that the graph really uses, with the demodulation multiplied in, stand at the convolutions.
    for source, target, layer in zip(theirs, ours, graph.of_type("Convolution"), strict=False):
        weight = graph.constant_input(layer)  # [O, C, k, k]
        if weight.shape[2] == 3:
            out[f"{target}.weight"] = weight
        else:
            out[f"{target}.pointwise"] = weight
            out[f"{target}.depthwise"] = named[f"{source}.conv.weight_dw"].reshape(-1, 1, 3, 3)
        noise = graph.addition_after(layer)
        out[f"{target}.noise_const"] = graph.constant_input(noise)[0, 0]  # [H, W]
        out[f"{target}.bias"] = graph.constant_input(graph.addition_after(noise)).flatten()  # [O]
        affine(f"{source}.conv", target, 1 / math.sqrt(9 * weight.shape[1]))

    # Subbands one after another instead of interleaved, the transform's 1/2 multiplied into the styles before it.
    for i in range(blocks):
        before = ours[2 * i]
        order = _subband_order(out[f"{before}.bias"].shape[0])
        for part in ("weight", "pointwise", "bias"):
            if f"{before}.{part}" in out:
                out[f"{before}.{part}"] = out[f"{before}.{part}"][order]
        affine(f"layers.{i}.up", f"b{8 << i}.up", 0.5, order)
    last = f"layers.{blocks - 1}.to_img"
    weight = named[f"{last}.conv.weight"]  # [12, C, 1, 1]
    order = _subband_order(weight.shape[0])
    image = f"b{8 << blocks}.to_img"
    out[f"{image}.weight"] = weight[order] * 0.5
    out[f"{image}.bias"] = named[f"{last}.bias"].flatten()[order] * 0.5
    affine(f"{last}.conv", image, 1 / math.sqrt(weight.shape[1]))
    return {f"synthesis.{name}": tensor for name, tensor in out.items()}


def _subband_order(channels: int) -> Tensor:
    """Channel indices that sort C low channels and C x 3 interleaved detail channels into four runs of C."""
    c = channels // 4
    detail = c + torch.arange(3 * c).reshape(c, 3).T.reshape(-1)  # [3 C]
    return torch.cat([torch.arange(c), detail])  # [4 C]
