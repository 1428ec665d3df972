"""What follows a convolution: demodulation, noise, bias, activation, and the next layer's style."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deltafast.generators.precision import FullPrecisionModule
from deltafast.ops import modulated_epilogue

__all__ = ["LayerConstants"]


class LayerConstants(FullPrecisionModule):
    """The bias `[C]` and noise `[H, W]` of one layer, and their application.

    With `noise_strength` (scalar) the noise image is the unscaled one; without, the strength is already multiplied
    in, and random noise gets the image's root mean square as its standard deviation.
    """

    def __init__(
        self,
        bias: Tensor,
        noise_const: Tensor,
        noise_strength: Tensor | None = None,
        *,
        gain: float = 1.0,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias)
        self.noise_const: Tensor
        self.noise_strength: Tensor
        self.random_strength: Tensor
        folded = noise_strength is None
        strength = noise_const.new_ones(()) if noise_strength is None else noise_strength.reshape(())
        self.register_buffer("noise_const", noise_const)
        self.register_buffer("noise_strength", strength)
        rms = noise_const.double().square().mean().sqrt().to(noise_const.dtype)
        self.register_buffer("random_strength", rms if folded else strength)
        self.gain = gain
        self.clamp = clamp

    def noise(self, noise_mode: str, samples: int) -> tuple[Tensor | None, Tensor | None]:
        """Return the noise `[samples or 1, 1, H, W]` and its strength (scalar), or None and None for mode "none"."""
        if noise_mode == "const":
            return self.noise_const[None, None], self.noise_strength
        if noise_mode == "random":
            shape = (samples, 1, *self.noise_const.shape)
            return torch.randn(shape, device=self.bias.device, dtype=self.bias.dtype), self.random_strength
        return None, None

    def forward(
        self, x: Tensor, noise_mode: str, *, demod: Tensor | None = None, next_style: Tensor | None = None
    ) -> Tensor:
        """Return `clamp(gain * leaky_relu(demod * x + noise + bias)) * next_style` for `x` `[N, C, H, W]`."""
        noise, strength = self.noise(noise_mode, x.shape[0])
        return modulated_epilogue(
            x,
            demod,
            noise,
            strength,
            self.bias,
            next_style=next_style,
            gain=self.gain,
            clamp=self.clamp,
        )
