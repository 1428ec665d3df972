"""How different two aligned faces look: a distance on the features of the encoder's backbone, and on pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.projection.backbone import MobileNetV2Features, normalise_images

__all__ = ["FaceDistance", "face_window"]

_LAYERS = (3, 6, 13)  # 24, 32 and 96 channels at 1/4, 1/8 and 1/16 of the image
_PIXEL_SIZES = (128, 32)


def face_window(size: int, device: torch.device | None = None) -> Tensor:
    """Weight of each pixel of an FFHQ-aligned face, `[size, size]`: 1 on the face, falling to 0.1 at the border."""
    axis = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    radius = torch.sqrt(((x - 0.5) / 0.34) ** 2 + ((y - 0.54) / 0.40) ** 2)  # 1 on the outline of the face
    return 0.1 + 0.9 * torch.sigmoid((1.15 - radius) * 10)


class FaceDistance(nn.Module):
    """Perceptual and multi-scale pixel distance of images to fixed targets, weighted towards the face.

    Features are compared as in LPIPS (Zhang et al. 2018, arXiv 1801.03924): every position's channel vector scaled
    to unit length, squared differences, mean over positions; here without learned channel weights, which is why it
    is not called LPIPS. `backbone` stays frozen.
    """

    def __init__(self, backbone: MobileNetV2Features, pixel_weight: float = 1.0) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
        self.pixel_weight = pixel_weight

    def describe(self, images: Tensor) -> list[Tensor]:
        """What is compared: unit-length feature maps and reduced images of `[N, 3, R, R]` in [-1, 1]."""
        x = normalise_images(images).contiguous(memory_format=torch.channels_last)  # [N, 3, R, R]
        features = self.backbone(x, _LAYERS)
        unit = [f * torch.rsqrt(f.square().sum(1, keepdim=True) + 1e-8) for f in features]
        return unit + [F.adaptive_avg_pool2d(images, size) for size in _PIXEL_SIZES]

    def forward(self, images: Tensor, targets: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return (perceptual `[N]`, pixel `[N]`) of `images` `[N, 3, R, R]` against `describe(...)` of the targets."""
        described = self.describe(images)
        terms = []
        for ours, theirs in zip(described, targets, strict=True):
            window = face_window(ours.shape[-1], ours.device)  # [h, w]
            difference = (ours - theirs).square().sum(1)  # [N, h, w]
            terms.append((difference * window).sum((1, 2)) / window.sum())
        perceptual = torch.stack(terms[: len(_LAYERS)]).mean(0)  # [N]
        pixel = torch.stack(terms[len(_LAYERS) :]).mean(0) / 3  # [N], mean over the colour channels
        return perceptual, self.pixel_weight * pixel
