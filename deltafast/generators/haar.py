"""The inverse Haar wavelet transform by which MobileStyleGAN doubles the resolution."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["inverse_haar"]


def inverse_haar(x: Tensor) -> Tensor:
    """Merge four subbands into an image of twice the size, without the transform's factor 1/2.

    `x` is `[N, 4 C, H, W]`, the subbands one after another: low, vertical detail, horizontal detail, diagonal
    detail, C channels each; the result is `[N, C, 2 H, 2 W]` in channels-last memory. With s = (-1)^i, t = (-1)^j:
    `out[2 y + i, 2 x + j] = low + s vertical + t horizontal + s t diagonal`.
    """
    n, channels, height, width = x.shape
    c = channels // 4
    low, vertical, horizontal, diagonal = torch.split(x.permute(0, 2, 3, 1), c, dim=3)  # 4 x [N, H, W, C]
    top, bottom = low + vertical, low - vertical  # [N, H, W, C]
    top_detail, bottom_detail = horizontal + diagonal, horizontal - diagonal  # [N, H, W, C]
    if torch.compiler.is_compiling() or (torch.is_grad_enabled() and x.requires_grad):
        rows = [torch.stack([a + b, a - b], dim=3) for a, b in ((top, top_detail), (bottom, bottom_detail))]
        out = torch.stack(rows, dim=2).reshape(n, 2 * height, 2 * width, c)  # [N, H, 2, W, 2, C] -> [N, 2H, 2W, C]
        return out.permute(0, 3, 1, 2)  # [N, C, 2H, 2W]
    grid = x.new_empty(n, height, 2, width, 2, c)  # [N, H, 2, W, 2, C]
    torch.add(top, top_detail, out=grid[:, :, 0, :, 0])
    torch.sub(top, top_detail, out=grid[:, :, 0, :, 1])
    torch.add(bottom, bottom_detail, out=grid[:, :, 1, :, 0])
    torch.sub(bottom, bottom_detail, out=grid[:, :, 1, :, 1])
    return grid.view(n, 2 * height, 2 * width, c).permute(0, 3, 1, 2)  # [N, C, 2H, 2W]
