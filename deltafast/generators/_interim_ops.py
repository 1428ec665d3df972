"""Plain versions of the fused ops."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def upfirdn2d(
    x: Tensor, f: Tensor, *, up: int = 1, padding: tuple[int, int, int, int] = (0, 0, 0, 0), gain: float = 1.0
) -> Tensor:
    n, c, h, w = x.shape
    if f.ndim == 1:
        f = torch.outer(f, f)
    if up > 1:
        y = x.new_zeros(n, c, h, up, w, up)
        y[:, :, :, 0, :, 0] = x
        x = y.reshape(n, c, h * up, w * up)
    x = F.pad(x, list(padding))
    k = (f * gain).flip((0, 1)).to(x.dtype)[None, None].expand(c, 1, -1, -1)
    return F.conv2d(x, k, groups=c)
