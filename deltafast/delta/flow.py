"""E and D of form="flow": a chart of the attribute, and a field that moves latents along it.

E(a_i, a_j) = c(a_j) - c(a_i), so Δ_ji = -Δ_ij and Δ_ij + Δ_jk = Δ_ik; and D(w, αΔ) is how far dw/dt = f(w, Δ) leads
in time α, with f linear in Δ, so that α followed by β is α + β and -α leads back: Δ_ij moves a_k to a_{k + j - i}, as
the paper asks (arXiv 2111.08419). Neural ODEs in latent space: Khrulkov et al., ICCV 2021. Tensors are slot-major and
normalised as in `deltafast.delta.networks`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from deltafast.delta.networks import GroupedLinear, Normalisation, activate
from deltafast.ops import FLOW_STEPS, flow_coordinates

__all__ = ["ChartEncoder", "FlowDecoder", "FlowWeights"]


class ChartEncoder(nn.Module):
    """E: the difference of two latents' coordinates in a chart c, an MLP for each slot."""

    def __init__(self, slots: int, w_dim: int, width: int, layers: int, dim: int) -> None:
        super().__init__()
        self.source = GroupedLinear(slots, w_dim, width)
        self.hidden = nn.ModuleList(GroupedLinear(slots, width, width) for _ in range(layers - 1))
        self.output = GroupedLinear(slots, width, dim, bias=False)  # a bias would cancel

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from `generator`."""
        for layer in (self.source, *self.hidden, self.output):
            assert isinstance(layer, GroupedLinear)
            layer.initialise(generator)

    def chart(self, a: Tensor) -> Tensor:
        """Return c(a) `[S, N, dim]` of normalised latents `[S, N, w_dim]`."""
        x = activate(self.source(a))  # [S, N, width]
        for layer in self.hidden:
            x = activate(layer(x))
        result: Tensor = self.output(x)
        return result

    def forward(self, a_i: Tensor, a_j: Tensor) -> Tensor:
        """Return Δ_ij `[S, N, dim]` of normalised latents `[S, N, w_dim]`."""
        return self.chart(a_j) - self.chart(a_i)


class FlowWeights(NamedTuple):
    """The field on latents as they are, not normalised, as `deltafast.ops.delta_flow` takes it."""

    latent_weight: Tensor  # [S, w_dim, width]
    latent_bias: Tensor  # [S, width]
    hidden_weight: Tensor  # [layers - 1, S, width, width]
    hidden_bias: Tensor  # [layers - 1, S, width]
    output_weight: Tensor  # [S, width, w_dim]


class FlowDecoder(nn.Module):
    """D: f(w, Δ) = (h(w) ⊙ VΔ) W in each slot, and the change that following it for a time makes."""

    def __init__(self, slots: int, w_dim: int, width: int, layers: int, dim: int) -> None:
        super().__init__()
        self.latent = GroupedLinear(slots, w_dim, width)
        self.code = GroupedLinear(slots, dim, width, bias=False)
        self.hidden = nn.ModuleList(GroupedLinear(slots, width, width) for _ in range(layers - 1))
        self.output = GroupedLinear(slots, width, w_dim, bias=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from `generator`; the last layer starts small, so D starts near "no change"."""
        for layer in (self.latent, self.code, *self.hidden, self.output):
            assert isinstance(layer, GroupedLinear)
            layer.initialise(generator, 0.1 if layer is self.output else 1.0)

    def hidden_layers(self) -> tuple[Tensor, Tensor]:
        """Return h's other layers: weights `[layers - 1, S, width, width]`, biases `[layers - 1, S, width]`."""
        slots, _, width = self.latent.weight.shape
        layers = [layer for layer in self.hidden if isinstance(layer, GroupedLinear) and layer.bias is not None]
        if not layers:
            return self.latent.weight.new_empty(0, slots, width, width), self.latent.weight.new_empty(0, slots, width)
        biases = torch.stack([layer.bias[:, 0] for layer in layers if layer.bias is not None])
        return torch.stack([layer.weight for layer in layers]), biases

    def mixing(self) -> tuple[Tensor, Tensor]:
        """Return what `deltafast.ops.flow_coordinates` calls mixing `[layers, S, width, width]`, and its biases."""
        weights, biases = self.hidden_layers()
        return torch.cat([torch.bmm(self.output.weight, self.latent.weight)[None], weights]), biases

    def coordinates(self, start: Tensor, delta: Tensor, alpha: Tensor, steps: int = FLOW_STEPS) -> Tensor:
        """Return how far each path goes along the rows of W, `[S, N, width]`.

        `start` `[S, N, width]`: h's first layer where it begins, `self.latent(w)`; `delta` `[S, N or 1, dim]`; `alpha`
        `[N]`.
        """
        mixing, bias = self.mixing()
        return flow_coordinates(start, alpha, self.code(delta), mixing, bias, steps=steps)

    def forward(self, w: Tensor, delta: Tensor, alpha: Tensor | None = None, steps: int = FLOW_STEPS) -> Tensor:
        """Return the change `[S, N, w_dim]` of normalised `w` `[S, N, w_dim]` after time `alpha` `[N]`, 1 by default.

        `delta`: Δ, `[S, N or 1, dim]`.
        """
        time = w.new_ones(w.shape[1]) if alpha is None else alpha
        result: Tensor = self.output(self.coordinates(self.latent(w), delta, time, steps))
        return result

    def weights(self, normalisation: Normalisation) -> FlowWeights:
        """Return the field with the normalisation folded into it."""
        assert self.latent.bias is not None
        scale = normalisation.scale
        latent = self.latent.weight / scale
        shift = torch.bmm(normalisation.mean, latent)[:, 0]  # [S, width]
        return FlowWeights(latent, self.latent.bias[:, 0] - shift, *self.hidden_layers(), self.output.weight * scale)
