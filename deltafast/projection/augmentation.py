"""Random photo-like degradations of training images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["degrade"]


def degrade(images: Tensor, random: torch.Generator) -> Tensor:
    """Vary exposure, contrast, saturation and colour cast, blur, add sensor noise, and shift by a few pixels.

    images `[N, 3, H, W]` in [-1, 1]; every image draws its own amounts from `random` (a CPU generator). Returns
    new images of the same shape and range.
    """
    n, _, height, width = images.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(n, *(shape or (1, 1, 1))).uniform_(low, high, generator=random)

    grey = images.mean(1, keepdim=True)  # [N, 1, H, W]
    x = grey + (images - grey) * uniform(0.6, 1.3)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * uniform(0.8, 1.2) + uniform(-0.15, 0.15)
    x = x + uniform(-0.06, 0.06, 3, 1, 1)
    small = F.avg_pool2d(x, 2)
    blurred = F.interpolate(small, (height, width), mode="bilinear", align_corners=False)
    x = torch.lerp(x, blurred, uniform(0.0, 1.0) * (uniform(0.0, 1.0) < 0.4))
    x = x + torch.randn(x.shape, generator=random) * uniform(0.0, 0.05)
    shift = torch.randint(-3, 4, (n, 2), generator=random).tolist()
    padded = F.pad(x, (3, 3, 3, 3), mode="reflect")
    x = torch.stack(
        [padded[i, :, 3 + dy : 3 + dy + height, 3 + dx : 3 + dx + width] for i, (dy, dx) in enumerate(shift)]
    )
    return x.clamp(-1, 1)
