"""All affine layers of one synthesis pass, as one batched product."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deltafast.generators.precision import FullPrecisionModule

__all__ = ["Affine", "StyleBank"]


@dataclass(frozen=True)
class Affine:
    """One affine layer w -> style: its canonical name, the W+ slot it reads, `weight` [C, w_dim], `bias` [C]."""

    name: str
    slot: int
    weight: Tensor
    bias: Tensor


class StyleBank(FullPrecisionModule):
    """Computes the styles of all layers from W+ at once, in fp32.

    The layers that read one slot lie side by side, padded to the widest slot: one batched matrix product
    `[L, N, w_dim] x [L, w_dim, Cmax]` instead of some twenty small ones.
    """

    def __init__(self, affines: list[Affine], num_ws: int) -> None:
        super().__init__()
        filled = [0] * num_ws
        self._places: dict[str, tuple[int, int, int]] = {}
        for affine in affines:
            width = affine.bias.shape[0]
            self._places[affine.name] = (affine.slot, filled[affine.slot], width)
            filled[affine.slot] += width
        w_dim = affines[0].weight.shape[1]
        weight = affines[0].weight.new_zeros(num_ws, max(filled), w_dim)  # [L, Cmax, w_dim]
        bias = affines[0].bias.new_zeros(num_ws, 1, max(filled))  # [L, 1, Cmax]
        for affine in affines:
            slot, start, width = self._places[affine.name]
            weight[slot, start : start + width] = affine.weight
            bias[slot, 0, start : start + width] = affine.bias
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)

    def forward(self, ws: Tensor) -> dict[str, Tensor]:
        """Return the style `[N, C]` of every layer, by name, for `ws` `[N, L, w_dim]`."""
        codes = ws.to(self.weight.dtype).transpose(0, 1)  # [L, N, w_dim]
        styles = torch.baddbmm(self.bias, codes, self.weight.transpose(1, 2))  # [L, N, Cmax]
        return {name: styles[slot, :, at : at + width] for name, (slot, at, width) in self._places.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return each layer's `NAME.affine.weight` `[C, w_dim]` and `NAME.affine.bias` `[C]`."""
        result: dict[str, Tensor] = {}
        for name, (slot, at, width) in self._places.items():
            result[f"{name}.affine.weight"] = self.weight[slot, at : at + width]
            result[f"{name}.affine.bias"] = self.bias[slot, 0, at : at + width]
        return result
