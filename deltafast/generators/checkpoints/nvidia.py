"""StyleGAN2 as stylegan2-ada-pytorch and stylegan3 name it: a module with its attributes, or a state dict alone."""

from __future__ import annotations

import math
import os
from typing import Any

import torch
from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.generators.checkpoints.found import Found
from deltafast.generators.checkpoints.weights import Weights
from deltafast.generators.equalised import MAPPING_LR_MULTIPLIER
from deltafast.untrusted.checks import shown

__all__ = ["read_nvidia"]

_GAINS = {"lrelu": math.sqrt(2), "relu": math.sqrt(2), "linear": 1.0}
_SAME = 1e-6  # relative; of numbers that are meant to be equal


def read_nvidia(found: Found, path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Convert a generator to canonical tensors and a config.

    A state dict says nothing of activation, clamping and gains; the original's defaults are taken. Raises
    `CheckpointError` for whatever changes the image and is not supported, and for weights that are left over.
    """
    return _Reader(found, path).read()


class _Reader:
    def __init__(self, found: Found, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.weights = Weights(found.values, path)
        self.attributes = found.attributes
        self.tensors: dict[str, Tensor] = {}
        self.clamps: set[float | None] = set()
        self.activations: set[str] = set()
        self.filters: list[Tensor] = []

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        const = self.weights.shaped("synthesis.b4.const", None, 4, None)  # [C, 4, w]
        self.tensors["synthesis.b4.const"] = const
        resolution = self._resolution()
        multiplier = self._number("mapping.fc0", "bias_gain", MAPPING_LR_MULTIPLIER)
        mapping_activation = self._mapping(multiplier)
        sizes = [4 << k for k in range(resolution.bit_length() - 2)]
        architecture = self._architecture(sizes)
        for size in sizes:
            block = f"synthesis.b{size}"
            for layer in ("conv0", "conv1") if size > 4 else ("conv1",):
                self._layer(f"{block}.{layer}", size, const.shape[2], architecture)
            if architecture == "skip" or size == resolution:
                self._to_rgb(f"{block}.torgb")
            if architecture == "resnet" and size > 4:
                self._skip(f"{block}.skip")
            if size > 4:
                self._filter(f"{block}.resample_filter")
        if len(self.clamps) != 1:
            seen = sorted(map(str, self.clamps))[:4]
            raise CheckpointError(self.path, f"layers of different conv_clamp ({', '.join(seen)}), expected one")
        if len(self.activations) != 1:
            seen = sorted(self.activations)[:4]
            raise CheckpointError(self.path, f"layers of different activations ({', '.join(seen)}), expected one")
        self.tensors["synthesis.resample_filter"] = self._one_filter()
        self._check_rest()
        return self.tensors, {
            "architecture": "stylegan2",
            "img_resolution": resolution,
            "conv_clamp": self.clamps.pop(),
            "mapping_lr_multiplier": multiplier,
            "synthesis_architecture": architecture,
            "activation": self.activations.pop(),
            "mapping_activation": mapping_activation,
            **self._w_avg_beta(),
        }

    # ---- attributes -------------------------------------------------------------------------------------------------

    def _w_avg_beta(self) -> dict[str, float]:
        """How much of the mean code stays when it is updated, where the file says so (None: it never was updated)."""
        if self._attribute("mapping", "w_avg_beta", None) is None:
            return {}
        value = self._attribute("mapping", "w_avg_beta", None)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
            raise CheckpointError(self.path, f"mapping has w_avg_beta {shown(value)}, expected a number from 0 to 1")
        return {"w_avg_beta": float(value)}

    def _attribute(self, module: str, name: str, default: Any) -> Any:
        return self.attributes.get(module, {}).get(name, default)

    def _number(self, module: str, name: str, default: float) -> float:
        value = self._attribute(module, name, default)
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good or not 0 < value < math.inf:
            raise CheckpointError(self.path, f"{module} has {name} {shown(value)}, expected a positive number")
        return float(value)

    def _expect(self, module: str, name: str, expected: Any) -> None:
        """Refuse a module whose attribute, where it has one, is another than the one that is supported."""
        value = self._attribute(module, name, expected)
        if isinstance(expected, float):
            same = isinstance(value, (int, float)) and math.isclose(value, expected, rel_tol=_SAME)
        else:
            same = type(value) is type(expected) and value == expected
        if not same:
            raise CheckpointError(self.path, f"{module} has {name} {shown(value)}, expected {shown(expected)}")

    def _activation(self, module: str) -> str:
        value = self._attribute(module, "activation", "lrelu")
        if not isinstance(value, str) or value not in _GAINS:
            known = ", ".join(_GAINS)
            raise CheckpointError(self.path, f"{module} has the activation {shown(value)}, expected one of {known}")
        return value

    def _clamp(self, module: str) -> None:
        value = self._attribute(module, "conv_clamp", None)
        self.clamps.add(None if value is None else self._number(module, "conv_clamp", 1.0))

    def _resolution(self) -> int:
        given = self._attribute("synthesis", "img_resolution", None)
        if given is None and "synthesis" not in self.attributes:  # a state dict
            sizes = [size for size in (4 << k for k in range(11)) if f"synthesis.b{size}.conv1.weight" in self.weights]
            given = max(sizes, default=0)
        if type(given) is not int or given not in {2**k for k in range(3, 13)}:
            expected = "expected a power of two from 8 to 4096"
            raise CheckpointError(self.path, f"img_resolution is {shown(given)}, {expected}")
        return given

    def _architecture(self, sizes: list[int]) -> str:
        given = [self._attribute(f"synthesis.b{size}", "architecture", None) for size in sizes]
        named = {value if isinstance(value, str) else shown(value) for value in given if value is not None}
        if not named:  # a state dict
            if f"synthesis.b{sizes[-1]}.skip.weight" in self.weights:
                return "resnet"
            return "skip" if "synthesis.b4.torgb.weight" in self.weights else "orig"
        if len(named) > 1 or not named <= {"skip", "orig", "resnet"}:
            seen = ", ".join(sorted(map(shown, named)))
            raise CheckpointError(
                self.path, f"a synthesis network of architecture {seen}; expected 'skip', 'orig' or 'resnet' throughout"
            )
        return str(named.pop())

    # ---- layers -----------------------------------------------------------------------------------------------------

    def _linear(self, name: str, out_features: int | None, multiplier: float) -> None:
        """A fully connected layer, for gains multiplier / sqrt(in) and multiplier."""
        weight = self.weights.shaped(f"{name}.weight", out_features, None)
        expected = multiplier / math.sqrt(weight.shape[1] or 1)
        self.tensors[f"{name}.weight"] = self._gained(weight, name, "weight_gain", expected)
        bias = self.weights.shaped(f"{name}.bias", weight.shape[0])
        self.tensors[f"{name}.bias"] = self._gained(bias, name, "bias_gain", multiplier)

    def _gained(self, tensor: Tensor, module: str, attribute: str, expected: float) -> Tensor:
        """A tensor that the file multiplies by a gain of its own, for a network that multiplies by the usual one."""
        gain = self._number(module, attribute, expected)
        return tensor if math.isclose(gain, expected, rel_tol=_SAME) else tensor * (gain / expected)

    def _mapping(self, multiplier: float) -> str:
        self.tensors["mapping.w_avg"] = self.weights.shaped("mapping.w_avg", None)
        if "mapping.embed.weight" in self.weights:
            self._expect("mapping.embed", "activation", "linear")
            self._linear("mapping.embed", None, 1.0)
        count = 0
        activations = set()
        while f"mapping.fc{count}.weight" in self.weights:
            activations.add(self._activation(f"mapping.fc{count}"))
            self._linear(f"mapping.fc{count}", None, multiplier)
            count += 1
        self._expect("mapping", "num_layers", count)
        if len(activations) > 1:
            raise CheckpointError(self.path, f"a mapping network of several activations ({sorted(activations)})")
        return activations.pop() if activations else "lrelu"

    def _layer(self, name: str, size: int, width: int, architecture: str) -> None:
        up = name.endswith("conv0")
        weight = self.weights.shaped(f"{name}.weight", None, None, 3, 3)  # [O, C, 3, 3]
        self.tensors[f"{name}.weight"] = weight
        self.tensors[f"{name}.bias"] = self.weights.shaped(f"{name}.bias", weight.shape[0])
        activation = self._activation(name)
        self.activations.add(activation)
        self._expect(name, "act_gain", _GAINS[activation])
        self._expect(name, "up", 2 if up else 1)
        self._expect(name, "padding", 1)
        shape = (size, size * width // 4)
        if f"{name}.noise_const" in self.weights and self._attribute(name, "use_noise", True) is not False:
            self.tensors[f"{name}.noise_const"] = self.weights.shaped(f"{name}.noise_const", *shape)
            self.tensors[f"{name}.noise_strength"] = self.weights.shaped(f"{name}.noise_strength")
        else:  # a network trained without noise
            self.tensors[f"{name}.noise_const"] = torch.zeros(shape)
            self.tensors[f"{name}.noise_strength"] = torch.zeros(())
        self._expect(f"{name}.affine", "activation", "linear")
        self._linear(f"{name}.affine", weight.shape[1], 1.0)
        self._clamp(name)
        if up:
            self._filter(f"{name}.resample_filter")

    def _to_rgb(self, name: str) -> None:
        weight = self.weights.shaped(f"{name}.weight", None, None, 1, 1)  # [channels, C, 1, 1]
        expected = 1 / math.sqrt(weight.shape[1] or 1)
        self.tensors[f"{name}.weight"] = self._gained(weight, name, "weight_gain", expected)
        self.tensors[f"{name}.bias"] = self.weights.shaped(f"{name}.bias", weight.shape[0])
        self._expect(f"{name}.affine", "activation", "linear")
        self._linear(f"{name}.affine", weight.shape[1], 1.0)
        self._clamp(name)

    def _skip(self, name: str) -> None:
        weight = self.weights.shaped(f"{name}.weight", None, None, 1, 1)  # [O, C, 1, 1]
        expected = 1 / math.sqrt(weight.shape[1] or 1)
        self.tensors[f"{name}.weight"] = self._gained(weight, name, "weight_gain", expected)
        for attribute, value in (
            ("activation", "linear"),
            ("up", 2),
            ("down", 1),
            ("conv_clamp", None),
            ("bias", None),
        ):
            self._expect(name, attribute, value)
        self._expect(name, "act_gain", 1.0)
        self._filter(f"{name}.resample_filter")

    # ---- filters, and what is left ----------------------------------------------------------------------------------

    def _filter(self, name: str) -> None:
        if name in self.weights:
            taps = self.weights.get(name)
            self.filters.append(taps if taps.ndim == 2 else torch.outer(taps.flatten(), taps.flatten()))

    def _one_filter(self) -> Tensor:
        """The filter that all layers up-sample with, `[k, k]`."""
        if not self.filters:
            row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
            return torch.outer(row, row)
        first = self.filters[0]
        if any(taps.shape != first.shape or not torch.allclose(taps, first, atol=_SAME) for taps in self.filters):
            raise CheckpointError(self.path, "layers that up-sample with different filters, expected one")
        if not math.isclose(float(first.sum()), 1.0, rel_tol=1e-4):
            raise CheckpointError(self.path, f"an up-sampling filter that sums to {float(first.sum()):.4g}, expected 1")
        return first

    def _check_rest(self) -> None:
        rest = [
            name
            for name in self.weights.unread()
            if not name.endswith((".resample_filter", ".noise_const", ".noise_strength"))
        ]
        if rest:
            raise CheckpointError(
                self.path, f"a network with weights that StyleGAN2 has not: {shown(rest[0])} ({len(rest)} in all)"
            )
