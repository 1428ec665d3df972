"""StyleGAN2's modulated convolutions: parameters as the checkpoint has them, and what kernels want, derived of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from deltafast.generators.epilogue import Activation, LayerConstants
from deltafast.generators.precision import LOW_PRECISION, FullPrecisionModule
from deltafast.ops import PackedConv3x3, invariant_linear

__all__ = ["ModulatedConv3x3", "Modulation", "ResidualSkip", "ToRGB"]

_EPSILON = 1e-8


class Modulation(NamedTuple):
    """What one W code makes of a layer, fp32: its style `[N, C]` and its demodulation coefficients `[N, O]`."""

    style: Tensor
    demod: Tensor


class ModulatedConv3x3(nn.Module):
    """A modulated and demodulated 3x3 convolution, with or without up-sampling by 2.

    y[n, o] = demod[n, o] * sum_i W[o, i] * (s[n, i] x[n, i]) with
    demod[n, o] = rsqrt(sum_i s[n, i]^2 sum_k W[o, i, k]^2 + 1e-8): the style goes onto the activations, demodulation
    onto the result, and the weights stay those of all samples.

    `weight` is the checkpoint's; the sums of its squares and the form that the CPU's kernel reads are made anew
    whenever its values are others than before (`PackedConv3x3`), or in every call.
    """

    def __init__(self, weight: Tensor, constants: LayerConstants, activation: Activation, *, up: bool) -> None:
        super().__init__()
        self.up = up
        self.weight = nn.Parameter(channels_last(weight))  # [O, C, 3, 3]
        self.constants = constants
        self.activation = activation
        self._packed = PackedConv3x3(up=2 if up else 1)

    def packed(self) -> tuple[Tensor, Tensor]:
        """Return the weight as the CPU's kernel reads it, and the sums of its squares `[O, C]`."""
        return self._packed.of(self.weight)

    def modulate(self, style: Tensor, dtype: torch.dtype, squares: Tensor | None = None) -> Modulation:
        """Return the modulation by `style` `[N, C]`; `squares` `[O, C]` are computed where they are not given.

        Where the convolution runs in fp16 or bf16 (`dtype`), the style is divided by the largest norm of a modulated
        filter, so that sums stay in range; the demodulation brings it back (StyleGAN2-ADA, arXiv 2006.06676, does
        alike).
        """
        if squares is None:
            squares = self._squares(style.dtype)
        norms = invariant_linear(style.square(), squares)  # [N, O]
        demod = torch.rsqrt(norms + _EPSILON)  # [N, O]
        if dtype not in LOW_PRECISION:
            return Modulation(style, demod)
        scale = demod.detach().amin(1, keepdim=True)  # [N, 1], one by the largest norm
        return Modulation(style * scale, demod / scale)

    def _squares(self, dtype: torch.dtype) -> Tensor:
        """The sums of the squared weights, `[O, C]` in `dtype`."""
        if self.weight.requires_grad and torch.is_grad_enabled():
            return self.weight.to(dtype).square().sum((2, 3))
        norms: Tensor = torch.linalg.vector_norm(self.weight, dim=(2, 3), dtype=dtype)  # [O, C], reads it once
        return norms.square()


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to image channels, not demodulated: its parameters."""

    def __init__(self, weight: Tensor, bias: Tensor, clamp: float | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(channels_last(weight))  # [channels, C, 1, 1]
        self.constants = _Bias(bias)
        self.clamp = clamp


class _Bias(FullPrecisionModule):
    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias)  # [channels]


class ResidualSkip(nn.Module):
    """The 1x1 convolution beside a block of architecture "resnet": weight `[O, C, 1, 1]`, times 1 / sqrt(C)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(channels_last(weight))
        self.gain = weight.shape[1] ** -0.5


def channels_last(weight: Tensor) -> Tensor:
    """Return `weight` with its channels side by side in memory, as convolutions of channels-last images read it."""
    return weight.contiguous(memory_format=torch.channels_last)
