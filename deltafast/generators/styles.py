"""All affine layers of one synthesis pass, as one batched product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deltafast.generators.precision import FullPrecisionModule
from deltafast.ops import invariant_linear

__all__ = ["Affine", "StyleBank"]


@dataclass(frozen=True)
class Affine:
    """One affine layer w -> style: its canonical name, the W+ slot it reads, and its parameters.

    style = gain * (weight_gain * w weight^T + bias), with `weight` [C, w_dim], `bias` [C] and the bank's weight_gain.
    """

    name: str
    slot: int
    weight: Tensor
    bias: Tensor
    gain: float = 1.0


class StyleBank(FullPrecisionModule):
    """Computes the styles of all layers from W+ at once, in fp32.

    The layers that read one slot lie side by side, padded to the widest slot: one batched matrix product
    `[L, N, w_dim] x [L, w_dim, Cmax]` instead of some twenty small ones. The padding is zero, and stays zero in
    training: nothing reads what it gives.
    """

    def __init__(self, affines: list[Affine], num_ws: int, weight_gain: float) -> None:
        super().__init__()
        filled = [0] * num_ws
        self._places: dict[str, tuple[int, int, int]] = {}
        for affine in affines:
            width = affine.bias.shape[0]
            self._places[affine.name] = (affine.slot, filled[affine.slot], width)
            filled[affine.slot] += width
        w_dim = affines[0].weight.shape[1]
        weight = affines[0].weight.new_zeros(num_ws, max(filled), w_dim)  # [L, Cmax, w_dim]
        bias = affines[0].bias.new_zeros(num_ws, max(filled))  # [L, Cmax]
        for affine in affines:
            slot, start, width = self._places[affine.name]
            weight[slot, start : start + width] = affine.weight
            bias[slot, start : start + width] = affine.bias
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)
        self.weight_gain = weight_gain
        self._gain_of = {affine.name: affine.gain for affine in affines}
        self.gains: Tensor
        self.register_buffer("gains", self._gains(), persistent=False)  # [L, 1, Cmax]

    def forward(self, ws: Tensor) -> dict[str, Tensor]:
        """Return the style `[N, C]` of every layer, by name, for `ws` `[N, L, w_dim]`."""
        codes = ws.to(self.weight.dtype).transpose(0, 1).contiguous()  # [L, N, w_dim]
        products = invariant_linear(codes, self.weight)  # [L, N, Cmax]
        styles = (products * self.weight_gain + self.bias[:, None]) * self.gains  # [L, N, Cmax]
        return {name: styles[slot, :, at : at + width] for name, (slot, at, width) in self._places.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return each layer's `NAME.affine.weight` `[C, w_dim]` and `NAME.affine.bias` `[C]`, as its `Affine` had."""
        result: dict[str, Tensor] = {}
        for name, (slot, at, width) in self._places.items():
            result[f"{name}.affine.weight"] = self.weight[slot, at : at + width]
            result[f"{name}.affine.bias"] = self.bias[slot, at : at + width]
        return result

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> StyleBank:
        super()._apply(fn, recurse)
        self.gains = self._gains()  # exact in float64 too
        return self

    def _gains(self) -> Tensor:
        gains = torch.zeros(self.weight.shape[0], 1, self.weight.shape[1], dtype=torch.float64)  # [L, 1, Cmax]
        for name, (slot, at, width) in self._places.items():
            gains[slot, :, at : at + width] = self._gain_of[name]
        return gains.to(self.weight)
