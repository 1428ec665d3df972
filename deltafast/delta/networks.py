"""E and D: one small MLP for each W+ slot, all slots in one batched product.

Tensors are slot-major inside, `[S, N, ...]` with S the number of slots the editor moves, so that every layer is one
`torch.bmm`. All latents here are normalised (see `Normalisation`); Δ is not. Training and editing, where time counts,
run the same networks through `deltafast.ops.delta_loss` and `deltafast.ops.delta_edit`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["DeltaDecoder", "DeltaEncoder", "GroupedLinear", "Normalisation", "activate"]


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU with slope 0.2, the activation of E and D."""
    return torch.nn.functional.leaky_relu(x, 0.2)


class GroupedLinear(nn.Module):
    """An own linear layer for each slot: `[S, N, inputs]` -> `[S, N, outputs]`.

    Equivalent to `torch.stack([x[s] @ weight[s] + bias[s] for s in range(S)])`.
    """

    def __init__(self, slots: int, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(slots, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(slots, 1, outputs)) if bias else None

    def initialise(self, generator: torch.Generator, gain: float = 1.0) -> None:
        """Draw normal weights of variance gain² / inputs; the bias becomes 0."""
        scale = gain / math.sqrt(self.weight.shape[1])
        with torch.no_grad():
            self.weight.copy_(torch.randn(self.weight.shape, generator=generator) * scale)
            if self.bias is not None:
                self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Apply slot s's layer to `x[s]`."""
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias, x, self.weight)


class DeltaEncoder(nn.Module):
    """E: two latents to Δ, slot by slot; the first layer is kept as its two halves, one for each input."""

    def __init__(self, slots: int, w_dim: int, width: int, layers: int, dim: int) -> None:
        super().__init__()
        self.source = GroupedLinear(slots, w_dim, width)
        self.target = GroupedLinear(slots, w_dim, width, bias=False)
        self.hidden = nn.ModuleList(GroupedLinear(slots, width, width) for _ in range(layers - 1))
        self.output = GroupedLinear(slots, width, dim)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from `generator`."""
        for layer in _layers(self):
            layer.initialise(generator)

    def forward(self, a_i: Tensor, a_j: Tensor) -> Tensor:
        """Return Δ_ij `[S, N, dim]` of normalised latents `[S, N, w_dim]`."""
        x = activate(self.source(a_i) + self.target(a_j))  # [S, N, width]
        for layer in self.hidden:
            x = activate(layer(x))
        result: Tensor = self.output(x)
        return result


class DeltaDecoder(nn.Module):
    """D: a latent and Δ to the change of that latent, slot by slot, without the residual connection around it."""

    def __init__(self, slots: int, w_dim: int, width: int, layers: int, dim: int) -> None:
        super().__init__()
        self.latent = GroupedLinear(slots, w_dim, width)
        self.code = GroupedLinear(slots, dim, width, bias=False)
        self.hidden = nn.ModuleList(GroupedLinear(slots, width, width) for _ in range(layers - 1))
        self.output = GroupedLinear(slots, width, w_dim)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from `generator`; the last layer starts small, so D starts near "no change"."""
        for layer in _layers(self):
            layer.initialise(generator, 0.1 if layer is self.output else 1.0)

    def hidden_layers(self) -> tuple[Tensor, Tensor]:
        """Return the other hidden layers: weights `[layers - 1, S, width, width]`, biases `[layers - 1, S, width]`."""
        slots, _, width = self.latent.weight.shape
        if len(self.hidden) == 0:
            return self.latent.weight.new_empty(0, slots, width, width), self.latent.weight.new_empty(0, slots, width)
        layers = [layer for layer in self.hidden if isinstance(layer, GroupedLinear) and layer.bias is not None]
        weights = torch.stack([layer.weight for layer in layers])
        return weights, torch.stack([layer.bias[:, 0] for layer in layers if layer.bias is not None])

    def forward(self, w: Tensor, delta: Tensor) -> Tensor:
        """Return D(w, Δ) `[S, N, w_dim]` for normalised `w` `[S, N, w_dim]` and Δ `[S, N, dim]`."""
        x = activate(self.latent(w) + self.code(delta))  # [S, N, width]
        for layer in self.hidden:
            x = activate(layer(x))
        result: Tensor = self.output(x)
        return result


class Normalisation(nn.Module):
    """Latents to numbers around 0 and back: per slot a mean `[S, 1, w_dim]`, and one scale for all, a scalar.

    One scale keeps angles, and the loss that of the latents themselves up to a factor; a scale for each component
    would blow up what the synthetic faces, a tight cluster, happen not to vary.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, slots: int, w_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(slots, 1, w_dim))
        self.register_buffer("scale", torch.ones(()))

    def fit(self, latents: Tensor) -> None:
        """Take the mean, and as scale the root mean square of what deviates from it, of latents `[M, S, w_dim]`."""
        mean = latents.double().mean(0)  # [S, w_dim]
        self.mean.copy_(mean[:, None])
        self.scale.copy_((latents.double() - mean).square().mean().sqrt().clamp_min(1e-6))

    def forward(self, latents: Tensor) -> Tensor:
        """Return `[N, S, w_dim]` latents normalised and slot-major, `[S, N, w_dim]`."""
        return (latents.transpose(0, 1) - self.mean) / self.scale

    def change(self, normalised: Tensor) -> Tensor:
        """Return a difference `[S, N, w_dim]` of normalised latents in the latents' own units, `[N, S, w_dim]`."""
        return (normalised * self.scale).transpose(0, 1)


def _layers(module: nn.Module) -> Sequence[GroupedLinear]:
    return [layer for layer in module.modules() if isinstance(layer, GroupedLinear)]
