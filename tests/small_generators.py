"""Small generators with random weights, as canonical tensors and as checkpoints of other projects' formats."""

from __future__ import annotations

import collections
import io
import math
import pickle
import sys
import types

import torch


def stylegan2_tensors(
    resolution=16,
    width=8,
    w_dim=16,
    z_dim=16,
    c_dim=0,
    seed=0,
    layers=2,
    architecture="skip",
    width_of_const=4,
    taps=(1, 3, 3, 1),
    widening=1,
):
    """Canonical tensors of a StyleGAN2 whose channel counts differ from layer to layer, by multiples of `widening`.

    `architecture` as in the config; `width_of_const` 2 makes images half as wide as high.
    """
    g = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=g)

    t = {"mapping.w_avg": randn(w_dim) * 0.1}
    inputs = z_dim
    if c_dim:
        t["mapping.embed.weight"], t["mapping.embed.bias"] = randn(w_dim, c_dim), randn(w_dim) * 0.1
        inputs += w_dim
    for k in range(layers):
        t[f"mapping.fc{k}.weight"] = randn(w_dim, inputs if k == 0 else w_dim) / 0.01
        t[f"mapping.fc{k}.bias"] = randn(w_dim) * 0.1 / 0.01

    def affine(name, channels):
        t[f"synthesis.{name}.affine.weight"] = randn(channels, w_dim)
        t[f"synthesis.{name}.affine.bias"] = torch.ones(channels)

    channels = width
    t["synthesis.b4.const"] = randn(channels, 4, width_of_const)
    row = torch.tensor(taps, dtype=torch.float32) / sum(taps)
    t["synthesis.resample_filter"] = torch.outer(row, row)
    size, step = 4, 0
    while size <= resolution:
        for layer in ("conv0", "conv1") if size > 4 else ("conv1",):
            step += 1
            outputs = width + step % 3 * widening
            name = f"b{size}.{layer}"
            t[f"synthesis.{name}.weight"] = randn(outputs, channels, 3, 3)
            t[f"synthesis.{name}.bias"] = randn(outputs) * 0.2
            t[f"synthesis.{name}.noise_const"] = randn(size, size * width_of_const // 4)
            t[f"synthesis.{name}.noise_strength"] = randn(()) * 0.2
            affine(name, channels)
            if architecture == "resnet" and layer == "conv0":
                last = width + (step + 1) % 3 * widening
                t[f"synthesis.b{size}.skip.weight"] = randn(last, channels, 1, 1)
            channels = outputs
        if architecture == "skip" or size == resolution:
            t[f"synthesis.b{size}.torgb.weight"] = randn(3, channels, 1, 1)
            t[f"synthesis.b{size}.torgb.bias"] = randn(3) * 0.1
            affine(f"b{size}.torgb", channels)
        size *= 2
    return t


def stylegan2_tensors_of_channels(channels, **options):
    """Canonical tensors of a StyleGAN2 whose images have so many channels; options as those of `stylegan2_tensors`."""
    tensors = stylegan2_tensors(**options)
    random = torch.Generator().manual_seed(channels)
    for name in [name for name in tensors if ".torgb." in name and "affine" not in name]:
        shape = (channels, *tensors[name].shape[1:])
        tensors[name] = torch.randn(shape, generator=random) * (0.3 if name.endswith("weight") else 0.05)
    return tensors


def mobilestylegan_tensors(resolution=32, w_dim=16, seed=0):
    """Canonical tensors of a MobileStyleGAN."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=g)

    t = {"mapping.w_avg": torch.zeros(w_dim)}
    t["mapping.fc0.weight"], t["mapping.fc0.bias"] = randn(w_dim, w_dim) / math.sqrt(w_dim), randn(w_dim) * 0.1

    def affine(name, channels, gain):
        t[f"synthesis.{name}.affine.weight"] = randn(channels, w_dim) * (gain / math.sqrt(w_dim))
        t[f"synthesis.{name}.affine.bias"] = torch.ones(channels) * gain

    def layer(name, size, inputs, outputs):
        if name == "b4.conv1":
            t[f"synthesis.{name}.weight"] = randn(outputs, inputs, 3, 3)
        else:
            t[f"synthesis.{name}.depthwise"] = randn(inputs, 1, 3, 3)
            t[f"synthesis.{name}.pointwise"] = randn(outputs, inputs, 1, 1)
        t[f"synthesis.{name}.noise_const"] = randn(size, size) * 0.3
        t[f"synthesis.{name}.bias"] = randn(outputs) * 0.2
        affine(name, inputs, 1 / math.sqrt(9 * inputs))

    channels, size = 16, 8
    t["synthesis.input"] = randn(channels, 4, 4)
    layer("b4.conv1", 4, channels, channels)
    while size < resolution:
        affine(f"b{size}.up", channels, 0.5)
        layer(f"b{size}.conv0", size, channels // 4, channels - 2)
        layer(f"b{size}.conv1", size, channels - 2, channels)
        size *= 2
    t[f"synthesis.b{size}.to_img.weight"] = randn(12, channels, 1, 1) * 0.5
    t[f"synthesis.b{size}.to_img.bias"] = randn(12) * 0.1
    affine(f"b{size}.to_img", channels, 1 / math.sqrt(channels))
    return t


def rosinality_state(width: int = 1, w_dim: int = 2) -> dict[str, torch.Tensor]:
    """A state dict of 8 x 8 pixels as rosinality names it."""
    kernel = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 16
    state = {"style.1.weight": torch.ones(w_dim, w_dim), "style.1.bias": torch.zeros(w_dim)}
    state["input.input"] = torch.ones(1, width, 4, 4)
    for name in ("conv1", "convs.0", "convs.1"):
        state[f"{name}.conv.weight"] = torch.ones(1, width, width, 3, 3)
        state[f"{name}.noise.weight"], state[f"{name}.activate.bias"] = torch.zeros(1), torch.zeros(width)
    for name in ("to_rgb1", "to_rgbs.0"):
        state[f"{name}.conv.weight"], state[f"{name}.bias"] = torch.ones(1, 3, width, 1, 1), torch.zeros(1, 3, 1, 1)
    for name in ("conv1", "convs.0", "convs.1", "to_rgb1", "to_rgbs.0"):
        state[f"{name}.conv.modulation.weight"] = torch.ones(width, w_dim)
        state[f"{name}.conv.modulation.bias"] = torch.ones(width)
    return {**state, "convs.0.conv.blur.kernel": kernel, "to_rgbs.0.upsample.kernel": kernel}


class Persistent:
    """Pickles as torch_utils.persistence pickles a module: source code, class name and state."""

    def __init__(self, class_name, parameters=(), buffers=(), modules=(), source="", **attributes):
        self.meta = {
            "type": "class",
            "version": 6,
            "module_src": source,
            "class_name": class_name,
            "state": {
                "training": False,
                "_parameters": collections.OrderedDict(parameters),
                "_buffers": collections.OrderedDict(buffers),
                "_modules": collections.OrderedDict(modules),
                **attributes,
            },
        }

    def __reduce__(self):
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,)


def dump(content, protocol=4):
    """Pickle `content` with `Persistent` objects in it, as stylegan2-ada would."""

    def _reconstruct_persistent_obj(meta):
        raise NotImplementedError

    module = types.ModuleType("torch_utils.persistence")
    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    package = types.ModuleType("torch_utils")
    package.persistence = module
    sys.modules.update({"torch_utils": package, "torch_utils.persistence": module})
    try:
        buffer = io.BytesIO()
        pickle.Pickler(buffer, protocol).dump(content)
        return buffer.getvalue()
    finally:
        del sys.modules["torch_utils"], sys.modules["torch_utils.persistence"]


def ada_generator(tensors, resolution, *, conv_clamp=None, source="", lr_multiplier=0.01, edit=None):
    """The `Persistent` generator that stylegan2-ada would save for these canonical tensors.

    `edit(name, attributes)` may change a module's attributes before it is built.
    """

    def parameter(value):
        return torch.nn.Parameter(value.clone())

    def linear(name, multiplier, activation="linear"):
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        gain = multiplier / math.sqrt(weight.shape[1])
        return Persistent(
            "FullyConnectedLayer",
            {"weight": parameter(weight), "bias": parameter(bias)},
            weight_gain=gain,
            bias_gain=multiplier,
            activation=activation,
        )

    def attributes(name, **values):
        if edit is not None:
            edit(name, values)
        return values

    mapping = {}
    if "mapping.embed.weight" in tensors:
        mapping["embed"] = linear("mapping.embed", 1.0)
    k = 0
    while f"mapping.fc{k}.weight" in tensors:
        mapping[f"fc{k}"] = linear(f"mapping.fc{k}", lr_multiplier, "lrelu")
        k += 1
    blocks = {}
    size = 4
    while size <= resolution:
        layers = {}
        for layer in ("conv0", "conv1", "torgb"):
            name = f"synthesis.b{size}.{layer}"
            if f"{name}.weight" not in tensors:
                continue
            gain = 1 / math.sqrt(tensors[f"{name}.weight"].shape[1]) if layer == "torgb" else 1.0
            affine = linear(f"{name}.affine", 1.0)
            parameters = {"weight": parameter(tensors[f"{name}.weight"]), "bias": parameter(tensors[f"{name}.bias"])}
            buffers = {}
            values = attributes(name, conv_clamp=conv_clamp)
            if layer == "torgb":
                values["weight_gain"] = gain
            else:
                parameters["noise_strength"] = parameter(tensors[f"{name}.noise_strength"])
                buffers["noise_const"] = tensors[f"{name}.noise_const"]
                buffers["resample_filter"] = tensors["synthesis.resample_filter"]
                values.setdefault("use_noise", True)
            kind = "ToRGBLayer" if layer == "torgb" else "SynthesisLayer"
            layers[layer] = Persistent(kind, parameters, buffers, {"affine": affine}, **values)
        const = {"const": parameter(tensors["synthesis.b4.const"])} if size == 4 else {}
        values = attributes(f"synthesis.b{size}", architecture="skip")
        buffers = {"resample_filter": tensors["synthesis.resample_filter"]}
        blocks[f"b{size}"] = Persistent("SynthesisBlock", const, buffers, layers, **values)
        size *= 2
    values = attributes("synthesis", img_resolution=resolution)
    networks = {
        "synthesis": Persistent("SynthesisNetwork", modules=blocks, source=source, **values),
        "mapping": Persistent("MappingNetwork", (), {"w_avg": tensors["mapping.w_avg"]}, mapping, source=source),
    }
    return Persistent("Generator", modules=networks, source=source)
