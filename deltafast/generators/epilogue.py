"""What follows a convolution: the parameters of noise, bias and activation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from deltafast.generators.precision import FullPrecisionModule

__all__ = ["Activation", "LayerConstants"]


class Activation(NamedTuple):
    """A leaky ReLU: the slope below zero, the gain, and the largest size of a result (None: no limit)."""

    negative_slope: float = 0.2
    gain: float = 1.0
    clamp: float | None = None

    def times(self, factor: float) -> Activation:
        """The same activation with its results, and their limit, multiplied by `factor`."""
        return Activation(self.negative_slope, self.gain * factor, self.clamp and self.clamp * factor)


class LayerConstants(FullPrecisionModule):
    """The bias `[C]` and noise `[H, W]` of one layer, always in full precision.

    With `noise_strength` (scalar, a parameter) the noise image is the unscaled one; without, the strength is already
    multiplied in, and random noise gets the image's root mean square as its standard deviation.
    """

    def __init__(self, bias: Tensor, noise_const: Tensor, noise_strength: Tensor | None = None) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias)
        self.noise_const: Tensor
        self.register_buffer("noise_const", noise_const)
        self.noise_strength = None if noise_strength is None else nn.Parameter(noise_strength.reshape(()))

    def noise(self, noise_mode: str, samples: int) -> tuple[Tensor | None, Tensor | None]:
        """Return the noise `[samples or 1, 1, H, W]` and its strength (scalar, or None for 1); None for mode "none"."""
        if noise_mode == "const":
            return self.noise_const[None, None], self.noise_strength
        if noise_mode == "random":
            shape = (samples, 1, *self.noise_const.shape)
            noise = torch.randn(shape, device=self.bias.device, dtype=self.bias.dtype)
            return noise, self.folded_strength() if self.noise_strength is None else self.noise_strength
        return None, None

    def folded_strength(self) -> Tensor:
        """The root mean square of the noise image (scalar): the strength that was multiplied into it."""
        return self.noise_const.double().square().mean().sqrt().to(self.noise_const.dtype)
