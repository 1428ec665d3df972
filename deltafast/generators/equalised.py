"""Layers with an equalised learning rate: parameters of about unit size, multiplied by constant gains at run time."""

from __future__ import annotations

import math

from torch import Tensor, nn

from deltafast.generators.precision import FullPrecisionModule
from deltafast.ops import invariant_linear

__all__ = ["MAPPING_LR_MULTIPLIER", "FullyConnected", "LabelProjection", "power_of_two"]

MAPPING_LR_MULTIPLIER = 0.01  # of the mapping network, unless a checkpoint says another


class FullyConnected(FullPrecisionModule):
    """A linear layer `x (weight_gain weight)^T + bias_gain bias`; fp32 or float64.

    `weight` `[out, in]` and `bias` `[out]` are the parameters as the optimiser sees them. With a learning-rate
    multiplier m, StyleGAN2's gains are m / sqrt(in) and m (arXiv 1912.04958, appendix B; ProGAN, arXiv 1710.10196).
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, weight_gain: float, bias_gain: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)
        self.weight_gain = weight_gain
        self.bias_gain = bias_gain

    def forward(self, x: Tensor) -> Tensor:
        """Map `x` `[N, in]` to `[N, out]`."""
        products = invariant_linear(x, self.weight)  # [N, out]
        return products * self.weight_gain + self.bias * self.bias_gain


class LabelProjection(FullPrecisionModule):
    """A label's embedding without gain or bias, `c weight^T`; fp32 or float64.

    `weight` `[e, c_dim]`. Source: StyleGAN2's TensorFlow code, whose LabelConcat it is.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, c: Tensor) -> Tensor:
        """Map `c` `[N, c_dim]` to `[N, e]`."""
        return invariant_linear(c, self.weight)  # [N, e]


def power_of_two(value: float) -> float:
    """Return the power of two nearest to a positive `value`, by the logarithm: a gain that rounds nothing."""
    return 2.0 ** round(math.log2(value))
