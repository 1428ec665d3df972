"""PReLU with fixed slopes, for frozen networks in losses."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FixedPReLU"]


class _FixedPReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor) -> Tensor:  # [N, C, H, W], [C]
        ctx.save_for_backward(x, slopes)
        return F.prelu(x, slopes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, slopes = ctx.saved_tensors
        where_positive = torch.ops.aten.threshold_backward(gradient, x, 0.0)
        return torch.lerp(where_positive, gradient, slopes.view(1, -1, 1, 1)), None


class FixedPReLU(nn.Module):
    """A leaky ReLU with one slope a channel, `slopes` `[C]`, which get no gradient.

    Equivalent to `torch.nn.PReLU` with a frozen weight, whose backward on a CPU takes about three times as long.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("slopes", torch.zeros(channels))
        self.slopes: Tensor

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H, W]
        result: Tensor = _FixedPReLU.apply(x, self.slopes)  # type: ignore[no-untyped-call]
        return result
