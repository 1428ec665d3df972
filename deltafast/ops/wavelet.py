"""The Haar wavelet transform by which MobileStyleGAN doubles the resolution, in plain torch."""

from __future__ import annotations

import torch

__all__ = ["inverse_haar", "inverse_haar_transposed"]


def inverse_haar(x: torch.Tensor) -> torch.Tensor:
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
    rows = [torch.stack([a + b, a - b], dim=3) for a, b in ((top, top_detail), (bottom, bottom_detail))]
    out = torch.stack(rows, dim=2).reshape(n, 2 * height, 2 * width, c)  # [N, H, 2, W, 2, C] -> [N, 2H, 2W, C]
    return out.permute(0, 3, 1, 2)  # [N, C, 2H, 2W]


def inverse_haar_transposed(x: torch.Tensor) -> torch.Tensor:
    """Carry a gradient back through `inverse_haar`: `[N, C, 2 H, 2 W]` -> `[N, 4 C, H, W]`, any strides."""
    upper, lower = x[:, :, 0::2], x[:, :, 1::2]  # [N, C, H, 2 W]
    total, detail = upper + lower, upper - lower  # [N, C, H, 2 W]
    sums = [t[..., 0::2] + t[..., 1::2] for t in (total, detail)]  # 2 x [N, C, H, W]
    differences = [t[..., 0::2] - t[..., 1::2] for t in (total, detail)]  # 2 x [N, C, H, W]
    return torch.cat([*sums, *differences], dim=1)  # [N, 4 C, H, W]
