"""The one record of a fused epilogue's arguments, with its checks and its plain torch."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from deltafast.errors import InvalidInputError
from deltafast.ops._arguments import accumulation_dtype, check_noise, check_optional, check_slope


class Epilogue(NamedTuple):
    """The arguments of `modulated_epilogue` behind x, in the order of the ops' schemas; csrc has the same record."""

    demod: torch.Tensor | None = None
    noise: torch.Tensor | None = None
    noise_strength: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    next_style: torch.Tensor | None = None
    negative_slope: float = 0.2
    gain: float = math.sqrt(2.0)
    clamp: float | None = None

    @property
    def tensors(self) -> tuple[torch.Tensor | None, ...]:
        """The tensors, in the schemas' order."""
        return self.demod, self.noise, self.noise_strength, self.bias, self.next_style

    @property
    def named(self) -> dict[str, Any]:
        """All arguments by name, for an op that ends with an epilogue."""
        return {
            "demod": self.demod,
            "noise": self.noise,
            "noise_strength": self.noise_strength,
            "bias": self.bias,
            "next_style": self.next_style,
            "negative_slope": self.negative_slope,
            "gain": self.gain,
            "clamp": self.clamp,
        }

    def check(self, op: str, x: torch.Tensor, size: tuple[int, int], channels: int | None = None) -> None:
        """Raise `InvalidInputError`, naming `op`, unless these are an epilogue's arguments for `x.shape[0]` images.

        The images have `channels` channels (None: those of `x`) and `size` (height, width).
        """
        n, c = x.shape[0], x.shape[1] if channels is None else channels
        strength = self.noise_strength
        single = isinstance(strength, torch.Tensor) and strength.dim() == 1
        check_optional(op, "demod", self.demod, x, (n, c), "[N, C]")
        check_noise(op, self.noise, x, n, size)
        check_optional(op, "noise_strength", strength, x, (1,) if single else (), "[]")
        check_optional(op, "bias", self.bias, x, (c,), "[C]")
        check_optional(op, "next_style", self.next_style, x, (n, c), "[N, C]")
        check_slope(op, self.negative_slope)
        if not abs(self.gain) < math.inf:
            raise InvalidInputError(f"{op}: gain must be finite, got {self.gain}")
        if self.clamp is not None and not self.clamp > 0.0:
            raise InvalidInputError(f"{op}: clamp must be positive or None, got {self.clamp}")

    def for_kernel(self, x: torch.Tensor) -> tuple[Any, ...]:
        """Return the arguments as the schemas take them, for an op on `x`: small tensors in accumulation dtype."""
        accumulate = accumulation_dtype(x)
        strength = self.noise_strength
        if self.noise is None or strength is None:
            strength = None
        else:
            strength = strength.reshape(())
        small = (self.demod, self.noise, strength, self.bias, self.next_style)
        clamp = None if self.clamp is None else float(self.clamp)
        return (
            *(None if t is None else t.to(accumulate) for t in small),
            float(self.negative_slope),
            float(self.gain),
            clamp,
        )

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return the epilogue of `x` `[N, C, H, W]` in plain torch, rounded once to x's dtype."""
        accumulate = accumulation_dtype(x)
        u = x.to(accumulate)  # [N, C, H, W]
        if self.demod is not None:
            u = u * self.demod.to(accumulate)[:, :, None, None]
        if self.noise is not None:
            scaled = self.noise.to(accumulate)  # [N or 1, 1, H, W]
            if self.noise_strength is not None:
                scaled = scaled * self.noise_strength.to(accumulate)
            u = u + scaled
        if self.bias is not None:
            u = u + self.bias.to(accumulate)[None, :, None, None]
        y = F.leaky_relu(u, self.negative_slope) * self.gain
        if self.clamp is not None:
            y = y.clamp(-self.clamp, self.clamp)
        if self.next_style is not None:
            y = y * self.next_style.to(accumulate)[:, :, None, None]
        return y.to(x.dtype)  # [N, C, H, W]
