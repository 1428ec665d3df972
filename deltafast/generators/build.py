"""From canonical tensors to a generator, every name, shape and value checked.

Canonical tensors, and config, of StyleGAN2 (version 2 of the format) are NVIDIA's parametrisation: what its PyTorch
code calls parameters, to the value, with constant gains multiplied in when the network runs. Blocks are b4, b8, ... up
to the resolution; H x W is the size of the 4 x 4 (or 4 x w) constant times the block's resolution / 4.

    mapping.w_avg [w_dim]
    mapping.fc{k}.weight [out, in]; .bias [out]         x m / sqrt(in); x m, with m = config mapping_lr_multiplier
    mapping.embed.weight [e, c_dim]; .bias [e]          x 1 / sqrt(c_dim); x 1; where there are labels. Without a bias
                                                        x 1, and joined to z before both are normalised
    synthesis.b4.const [C, 4, w]
    synthesis.resample_filter [k, k]                    sums to 1; gains of up-sampling are the network's
    synthesis.b{r}.conv{0,1}.weight [O, C, 3, 3]        demodulated; b4 has conv1 alone
    synthesis.b{r}.conv{0,1}.bias [O]; .noise_const [H, W]; .noise_strength []
    synthesis.b{r}.torgb.weight [channels, C, 1, 1]     x 1 / sqrt(C); not demodulated
    synthesis.b{r}.torgb.bias [channels]                in every block ("skip"), or in the last one alone
    synthesis.b{r}.skip.weight [O, C, 1, 1]             x 1 / sqrt(C); "resnet" alone, not in b4
    synthesis.b{r}.{layer}.affine.weight [C, w_dim]     x 1 / sqrt(w_dim)
    synthesis.b{r}.{layer}.affine.bias [C]

    config: architecture "stylegan2"; img_resolution (height); conv_clamp (None); mapping_lr_multiplier (0.01);
    synthesis_architecture "skip" | "orig" | "resnet" ("skip"); activation, mapping_activation "lrelu" | "relu" |
    "linear" ("lrelu"); equalised_convolutions (False): whether 3x3 weights, too, are multiplied by 1 / sqrt(9 C), as
    rosinality's are; w_avg_beta (0.998), 0 to 1; name; w_space

MobileStyleGAN's are those of its published file, whose gains are multiplied in; see `mobilestylegan_names` and
`MobileStyleGANSynthesis`, which divides its parameters by them.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.generators.activations import ACTIVATIONS
from deltafast.generators.base import Generator
from deltafast.generators.equalised import MAPPING_LR_MULTIPLIER, FullyConnected, LabelProjection, power_of_two
from deltafast.generators.fingerprint import generator_fingerprint
from deltafast.generators.mapping import W_AVG_BETA, MappingNetwork
from deltafast.generators.mobilestylegan import MobileStyleGANSynthesis, mobilestylegan_names
from deltafast.generators.stylegan2 import ARCHITECTURES, StyleGAN2Synthesis, stylegan2_blocks
from deltafast.generators.synthesis import SynthesisNetwork
from deltafast.untrusted.checks import UnreadableError, check_name

__all__ = ["build_generator"]


_MAX_MAPPING_LAYERS = 64
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_WIDTH = 16  # of the constant, which is 4 high
_MOBILE_RESOLUTION = 16  # the least of MobileStyleGAN's


def build_generator(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], path: str | os.PathLike[str]
) -> Generator:
    """Build a generator (eval mode, no gradients for its weights) from canonical tensors and a config.

    `path` is named in errors. Raises `CheckpointError` for an unknown architecture, a missing or unexpected tensor,
    a wrong shape, weights that are not finite, or a name that is not printable.
    """
    checked = _Checked(tensors, path)
    _check_names(config, path)
    architecture = config.get("architecture")
    resolution = config.get("img_resolution")
    if not isinstance(resolution, int) or resolution not in {2**k for k in range(3, 13)}:
        raise CheckpointError(path, f"img_resolution is {resolution!r}, expected a power of two from 8 to 4096")
    synthesis: SynthesisNetwork
    if architecture == "mobilestylegan":
        if resolution < _MOBILE_RESOLUTION:
            expected = f"at least {_MOBILE_RESOLUTION} for MobileStyleGAN, whose last block makes the image"
            raise CheckpointError(path, f"img_resolution is {resolution}, expected {expected}")
        _check_mobilestylegan(checked, resolution)
        synthesis = MobileStyleGANSynthesis(tensors, resolution)
    elif architecture == "stylegan2":
        synthesis = _build_stylegan2(checked, config, resolution)
    else:
        raise CheckpointError(path, f"architecture {architecture!r} is not known, expected mobilestylegan or stylegan2")
    mapping = _build_mapping(checked, config, synthesis.num_ws, synthesis.w_dim)
    checked.finish()
    generator = Generator(mapping, synthesis, config=config, fingerprint=generator_fingerprint(tensors, config))
    return generator.eval().requires_grad_(False)


def _check_names(config: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Refuse names that reach terminals and files, and a fingerprint of version 1 that is none."""
    try:
        for key in ("name", "w_space"):
            if config.get(key) is not None:
                check_name(config[key], f"the generator's {key}")
    except UnreadableError as error:
        raise CheckpointError(path, str(error)) from error
    known = config.get("version_1_fingerprint")
    if known is not None and not (
        isinstance(known, Mapping)
        and all(isinstance(text, str) and _DIGEST.fullmatch(text) for pair in known.items() for text in pair)
    ):
        raise CheckpointError(path, "version_1_fingerprint is no table of sha256 digests")


def _build_stylegan2(checked: _Checked, config: Mapping[str, Any], resolution: int) -> StyleGAN2Synthesis:
    clamp = config.get("conv_clamp")
    if clamp is not None and not _is_positive(clamp):
        raise CheckpointError(checked.path, f"conv_clamp is {clamp!r}, expected a positive number or none")
    architecture = _choice(checked, config, "synthesis_architecture", ARCHITECTURES)
    equalised = config.get("equalised_convolutions", False)
    if not isinstance(equalised, bool):
        raise CheckpointError(checked.path, f"equalised_convolutions is {equalised!r}, expected true or false")
    _check_stylegan2(checked, resolution, architecture)
    return StyleGAN2Synthesis(
        checked.tensors,
        resolution,
        clamp,
        architecture=architecture,
        activation=_choice(checked, config, "activation", tuple(ACTIVATIONS)),
        equalised_convolutions=equalised,
    )


def _choice(checked: _Checked, config: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    """One of the `known` words out of the config, the first where it says nothing."""
    value = config.get(key, known[0])
    if value not in known:
        raise CheckpointError(checked.path, f"{key} is {str(value)[:40]!r}, expected {', '.join(known)}")
    return str(value)


def _is_positive(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 < value < math.inf


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


def _build_mapping(checked: _Checked, config: Mapping[str, Any], num_ws: int, w_dim: int) -> MappingNetwork:
    multiplier = config.get("mapping_lr_multiplier", MAPPING_LR_MULTIPLIER)
    if not _is_positive(multiplier):
        raise CheckpointError(checked.path, f"mapping_lr_multiplier is {multiplier!r}, expected a positive number")
    beta = config.get("w_avg_beta", W_AVG_BETA)
    if not isinstance(beta, (int, float)) or isinstance(beta, bool) or not 0 <= beta <= 1:
        raise CheckpointError(checked.path, f"w_avg_beta is {beta!r}, expected a number from 0 to 1")
    folded = config["architecture"] == "mobilestylegan"
    w_avg = checked.take("mapping.w_avg", w_dim)
    embed = None
    if "mapping.embed.weight" in checked:
        weight = checked.take("mapping.embed.weight", None, None)
        bias = checked.take("mapping.embed.bias", weight.shape[0]) if "mapping.embed.bias" in checked else None
        embed = (weight, bias)
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
    return MappingNetwork(
        [_fully_connected(*pair, multiplier, folded) for pair in zip(weights, biases, strict=True)],
        num_ws=num_ws,
        w_avg=w_avg,
        embed=None if embed is None else _label_embedding(*embed, folded),
        activation=_choice(checked, config, "mapping_activation", tuple(ACTIVATIONS)),
        folded=folded,
        w_avg_beta=float(beta),
    )


def _label_embedding(weight: Tensor, bias: Tensor | None, folded: bool) -> FullyConnected | LabelProjection:
    return LabelProjection(weight) if bias is None else _fully_connected(weight, bias, 1.0, folded)


def _fully_connected(weight: Tensor, bias: Tensor, multiplier: float, folded: bool) -> FullyConnected:
    """A layer of canonical tensors; `folded` ones are divided by their gains, each rounded to a power of two."""
    weight_gain, bias_gain = multiplier / math.sqrt(weight.shape[1]), multiplier
    if not folded:
        return FullyConnected(weight, bias, weight_gain=weight_gain, bias_gain=bias_gain)
    weight_gain, bias_gain = power_of_two(weight_gain), power_of_two(bias_gain)
    return FullyConnected(weight / weight_gain, bias / bias_gain, weight_gain=weight_gain, bias_gain=bias_gain)


def _check_affine(checked: _Checked, layer: str, channels: int, w_dim: int | None) -> int:
    """Check an affine layer's shapes; return its w_dim."""
    w_dim = checked.take(f"{layer}.affine.weight", channels, w_dim).shape[1]
    checked.take(f"{layer}.affine.bias", channels)
    return w_dim


def _check_stylegan2(checked: _Checked, resolution: int, architecture: str) -> None:
    channels, _, width = checked.take("synthesis.b4.const", None, 4, None).shape
    if width > _MAX_WIDTH:
        raise CheckpointError(checked.path, f"the constant is 4 x {width}, expected a width of 1..{_MAX_WIDTH}")
    size = checked.take("synthesis.resample_filter", None, None).shape
    if size[0] != size[1] or not 2 <= size[0] <= 64:
        raise CheckpointError(checked.path, f"the up-sampling filter is {list(size)}, expected [k, k], k = 2..64")
    w_dim: int | None = None
    outputs: int | None = None
    for block in stylegan2_blocks(resolution):
        inputs = channels
        for name in ("conv0", "conv1") if block > 4 else ("conv1",):
            layer = f"synthesis.b{block}.{name}"
            w_dim = _check_affine(checked, layer, channels, w_dim)
            channels = checked.take(f"{layer}.weight", None, channels, 3, 3).shape[0]
            checked.take(f"{layer}.bias", channels)
            checked.take(f"{layer}.noise_const", block, block * width // 4)
            checked.take(f"{layer}.noise_strength")
        if architecture == "skip" or block == resolution:
            torgb = f"synthesis.b{block}.torgb"
            _check_affine(checked, torgb, channels, w_dim)
            outputs = checked.take(f"{torgb}.weight", outputs, channels, 1, 1).shape[0]
            checked.take(f"{torgb}.bias", outputs)
        if architecture == "resnet" and block > 4:
            checked.take(f"synthesis.b{block}.skip.weight", channels, inputs, 1, 1)


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
