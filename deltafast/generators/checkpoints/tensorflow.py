"""StyleGAN2's official pickles of TensorFlow networks, read without TensorFlow: variables by name, and their options.

How the layouts correspond: convolutions are [kh, kw, in, out] and, where they up-sample, turned round; dense layers are
[in, out]; a style's bias is stored less 1; noise images are numbered from the smallest block on.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.generators.checkpoints.found import Found
from deltafast.generators.checkpoints.weights import Weights
from deltafast.generators.equalised import MAPPING_LR_MULTIPLIER
from deltafast.untrusted.checks import shown
from deltafast.untrusted.pickled_values import Record

__all__ = ["read_tensorflow"]

_IGNORED = ("lod", "dlatent_avg")
_ACTIVATIONS = {"lrelu": "lrelu", "relu": "relu", "linear": "linear"}
_W_AVG_BETA = 0.995  # unless an option says another
_MAX_OPTION = 64  # taps of a filter


def read_tensorflow(found: Found, path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Convert a network to canonical tensors and a config.

    Raises `CheckpointError` by name for the first StyleGAN, and for options that change the image and are not
    supported.
    """
    assert found.network is not None
    return _Reader(found.network, path).read()


class _Reader:
    def __init__(self, network: Record, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.options: dict[str, Any] = {}
        values: dict[str, Any] = {}
        parts: Mapping[str, Any] = network.state.get("components") or {}
        for prefix, part in (("mapping.", parts.get("mapping")), ("synthesis.", parts.get("synthesis")), ("", network)):
            if not isinstance(part, Record):
                raise CheckpointError(path, f"a TensorFlow network whose component {prefix!r} is {shown(part)}")
            options, variables = part.state.get("static_kwargs"), part.state.get("variables")
            self.options |= {k: v for k, v in (options if isinstance(options, Mapping) else {}).items()}
            for pair in variables if isinstance(variables, (list, tuple)) else ():
                if isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str):
                    values[prefix + pair[0]] = pair[1]
        if any("/StyleMod/" in name or "/LayerEpilogue/" in name for name in values):
            raise CheckpointError(path, "a TensorFlow pickle of the first StyleGAN, which is not supported")
        self.weights = Weights(values, path)
        self.out: dict[str, Tensor] = {}

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        resolution = self.options.get("resolution", 1024)
        if type(resolution) is not int or resolution not in {2**k for k in range(3, 13)}:
            text = f"a TensorFlow network of resolution {shown(resolution)}, expected a power of two from 8 to 4096"
            raise CheckpointError(self.path, text)
        architecture = self._choice("architecture", {"skip": "skip", "orig": "orig", "resnet": "resnet"}, "skip")
        activation = self._choice("nonlinearity", _ACTIVATIONS, "lrelu")
        mapping_activation = self._choice("mapping_nonlinearity", _ACTIVATIONS, "lrelu")
        multiplier = self._positive("mapping_lrmul", MAPPING_LR_MULTIPLIER)
        clamp = None if self.options.get("conv_clamp") is None else self._positive("conv_clamp", 1.0)
        if self.options.get("normalize_latents", True) is not True:
            raise CheckpointError(self.path, "a TensorFlow network that does not normalise z, which is not supported")
        self._mapping()
        self.out["synthesis.b4.const"] = self.weights.shaped("synthesis.4x4/Const/const", 1, None, 4, None)[0]
        for size in (4 << k for k in range(resolution.bit_length() - 2)):
            scope, block = f"synthesis.{size}x{size}", f"synthesis.b{size}"
            step = 2 * size.bit_length() - 6  # 0 at 4 x 4, then two for each block
            if size > 4:
                self._layer(f"{scope}/Conv0_up", f"{block}.conv0", step - 1, up=True)
            self._layer(f"{scope}/Conv1" if size > 4 else f"{scope}/Conv", f"{block}.conv1", step, up=False)
            if architecture == "skip" or size == resolution:
                self._modulated(f"{scope}/ToRGB", f"{block}.torgb", turned=False)
            if architecture == "resnet" and size > 4:
                self.out[f"{block}.skip.weight"] = self._kernel(f"{scope}/Skip", turned=True)
        self.out["synthesis.resample_filter"] = self._filter()
        rest = [name for name in self.weights.unread() if name.rpartition(".")[2].rpartition("/")[2] not in _IGNORED]
        if rest:
            text = f"a TensorFlow network with variables that StyleGAN2 has not: {shown(rest[0])} ({len(rest)} in all)"
            raise CheckpointError(self.path, text)
        return self.out, {
            "architecture": "stylegan2",
            "img_resolution": resolution,
            "conv_clamp": clamp,
            "mapping_lr_multiplier": multiplier,
            "synthesis_architecture": architecture,
            "activation": activation,
            "mapping_activation": mapping_activation,
            "w_avg_beta": self._w_avg_beta(),
        }

    def _choice(self, option: str, known: Mapping[str, str], default: str) -> str:
        value = self.options.get(option, default)
        if not isinstance(value, str) or value not in known:
            text = f"a TensorFlow network of {option} {shown(value)}, expected one of {', '.join(known)}"
            raise CheckpointError(self.path, text)
        return known[value]

    def _positive(self, option: str, default: float) -> float:
        value = self.options.get(option, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
            raise CheckpointError(self.path, f"a TensorFlow network of {option} {shown(value)}")
        return float(value)

    def _w_avg_beta(self) -> float:
        if self.options.get("dlatent_avg_beta") is None:  # a network that was never trained on
            return _W_AVG_BETA
        value = self._positive("dlatent_avg_beta", _W_AVG_BETA)
        if value > 1:
            raise CheckpointError(self.path, f"a TensorFlow network of dlatent_avg_beta {value}, expected at most 1")
        return value

    def _mapping(self) -> None:
        self.out["mapping.w_avg"] = self.weights.shaped("dlatent_avg", None)
        if "mapping.LabelEmbed/weight" in self.weights:  # of stylegan2-ada
            self._dense("mapping.LabelEmbed", "mapping.embed")
        elif "mapping.LabelConcat/weight" in self.weights:  # of stylegan2, [c_dim, e] without a gain
            joined = self.weights.shaped("mapping.LabelConcat/weight", None, None)
            self.out["mapping.embed.weight"] = joined.t().contiguous()
        layer = 0
        while f"mapping.Dense{layer}/weight" in self.weights:
            self._dense(f"mapping.Dense{layer}", f"mapping.fc{layer}")
            layer += 1

    def _dense(self, source: str, target: str) -> None:
        weight = self.weights.shaped(f"{source}/weight", None, None).t().contiguous()  # [out, in]
        self.out[f"{target}.weight"] = weight
        self.out[f"{target}.bias"] = self.weights.shaped(f"{source}/bias", weight.shape[0])

    def _kernel(self, source: str, *, turned: bool) -> Tensor:
        weight = self.weights.shaped(f"{source}/weight", None, None, None, None)  # [kh, kw, I, O]
        return (weight.flip(0, 1) if turned else weight).permute(3, 2, 0, 1).contiguous()

    def _modulated(self, source: str, target: str, *, turned: bool) -> None:
        weight = self._kernel(source, turned=turned)  # [O, I, kh, kw]
        self.out[f"{target}.weight"] = weight
        self.out[f"{target}.bias"] = self.weights.shaped(f"{source}/bias", weight.shape[0])
        affine = self.weights.shaped(f"{source}/mod_weight", None, weight.shape[1])  # [w_dim, I]
        self.out[f"{target}.affine.weight"] = affine.t().contiguous()
        self.out[f"{target}.affine.bias"] = self.weights.shaped(f"{source}/mod_bias", weight.shape[1]) + 1

    def _layer(self, source: str, target: str, noise: int, *, up: bool) -> None:
        self._modulated(source, target, turned=up)
        name = f"synthesis.noise{noise}"
        size = int(source.partition("x")[2].partition("/")[0])
        width = size * self.out["synthesis.b4.const"].shape[2] // 4
        if name in self.weights and self.options.get("use_noise", True) is not False:
            self.out[f"{target}.noise_const"] = self.weights.shaped(name, 1, 1, size, width)[0, 0]
            self.out[f"{target}.noise_strength"] = self.weights.shaped(f"{source}/noise_strength")
        else:
            self.out[f"{target}.noise_const"] = torch.zeros(size, width)
            self.out[f"{target}.noise_strength"] = torch.zeros(())

    def _filter(self) -> Tensor:
        """The option resample_kernel as the filter `[k, k]`, scaled to sum to 1 as the original does."""
        given = self.options.get("resample_kernel", [1, 3, 3, 1])
        try:
            taps = np.asarray(given if given is not None else [1], dtype=np.float64)
        except (TypeError, ValueError):
            taps = np.zeros(0)
        if taps.ndim == 1:
            taps = np.outer(taps, taps)
        if taps.ndim != 2 or not 0 < taps.size <= _MAX_OPTION**2 or not np.isfinite(taps).all() or taps.sum() == 0:
            raise CheckpointError(self.path, f"a TensorFlow network whose resample_kernel is {shown(given)}")
        return torch.from_numpy((taps / taps.sum()).astype(np.float32))
