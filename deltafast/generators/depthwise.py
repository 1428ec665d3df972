"""The depthwise 3x3 convolution, with a backward that is fast on CPUs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["depthwise_conv3x3"]


def depthwise_conv3x3(x: Tensor, weight: Tensor) -> Tensor:
    """Convolve each channel of `x` `[N, C, H, W]` with its own kernel of `weight` `[C, 1, 3, 3]`, zero-padded by 1.

    Equivalent to `F.conv2d(x, weight, padding=1, groups=C)`. The gradient for `x` is a forward convolution with the
    flipped kernel, which spares CPUs autograd's own slow one; it can be differentiated again.
    """
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        result: Tensor = _DepthwiseConv3x3.apply(x, weight)  # type: ignore[no-untyped-call]
        return result
    return F.conv2d(x, weight, padding=1, groups=x.shape[1])  # [N, C, H, W]


class _DepthwiseConv3x3(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=1, groups=x.shape[1])  # [N, C, H, W]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0]  # [N, C, H, W]
        gradient_x = gradient_weight = None
        if ctx.needs_input_grad[0]:
            flipped = weight.flip((2, 3)).to(gradient.dtype)  # [C, 1, 3, 3]
            gradient_x = depthwise_conv3x3(gradient, flipped).to(x.dtype)  # [N, C, H, W]
        if ctx.needs_input_grad[1]:
            gradient_weight = torch.ops.aten.convolution_backward(
                gradient, x.to(gradient.dtype), weight.to(gradient.dtype), None,
                [1, 1], [1, 1], [1, 1], False, [0, 0], x.shape[1], [False, True, False],
            )[1].to(weight.dtype)  # [C, 1, 3, 3]  # fmt: skip
        return gradient_x, gradient_weight
