"""The mapping network z, c -> W, shared by all generators."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.errors import InvalidInputError
from deltafast.generators.precision import FullPrecisionModule

__all__ = ["MappingNetwork", "estimate_w_avg"]

_EPSILON = 1e-8
_W_AVG_SEED = 0
_W_AVG_SAMPLES = 20_000


class MappingNetwork(FullPrecisionModule):
    """StyleGAN's mapping network: normalised z (and embedded c) through leaky-ReLU layers, then truncation.

    `weights[i]` is `[out, in]` and `biases[i]` `[out]`, the equalised learning rate already multiplied in; `embed` is
    the weight `[e, c_dim]` and bias `[e]` of the label's layer, or None where the generator is unconditional.
    Always computes in fp32 (or float64). Source: StyleGAN2 (arXiv 1912.04958), conditional as in StyleGAN2-ADA.
    """

    def __init__(
        self,
        weights: list[Tensor],
        biases: list[Tensor],
        *,
        num_ws: int,
        w_avg: Tensor,
        embed: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.weights = nn.ParameterList(weights)
        self.biases = nn.ParameterList(biases)
        self.embed_weight = nn.Parameter(embed[0]) if embed is not None else None
        self.embed_bias = nn.Parameter(embed[1]) if embed is not None else None
        self.w_avg: Tensor
        self.register_buffer("w_avg", w_avg)
        self.num_ws = num_ws
        self.w_dim = w_avg.shape[0]
        self.c_dim = embed[0].shape[1] if embed is not None else 0
        embedded = embed[0].shape[0] if embed is not None else 0
        self.z_dim = (weights[0].shape[1] if weights else self.w_dim) - embedded

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Map `z` `[N, z_dim]` (and `c` `[N, c_dim]`) to W+ `[N, num_ws, w_dim]`, every slot the same code.

        `truncation_psi` 1 leaves the codes as they are, 0 gives `w_avg`; only the first `truncation_cutoff` slots
        are truncated (None: all). Raises `InvalidInputError` for a wrong shape, or for a missing or needless `c`.
        """
        w = self.code(z, c)  # [N, w_dim]
        ws = w.unsqueeze(1).expand(-1, self.num_ws, -1)  # [N, L, w_dim]
        if truncation_psi == 1:
            return ws.contiguous()
        truncated = torch.lerp(self.w_avg, ws, truncation_psi)  # [N, L, w_dim]
        if truncation_cutoff is None:
            return truncated
        return torch.cat([truncated[:, :truncation_cutoff], ws[:, truncation_cutoff:]], dim=1)  # [N, L, w_dim]

    def code(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """Map `z` `[N, z_dim]` (and `c` `[N, c_dim]`) to one W code a sample, `[N, w_dim]`, not truncated."""
        self._check(z, c)
        x = _normalise(z.to(self.w_avg.dtype))  # [N, z_dim]
        if self.embed_weight is not None and c is not None:
            label = F.linear(c.to(self.w_avg.dtype), self.embed_weight, self.embed_bias)  # [N, e]
            x = torch.cat([x, _normalise(label)], dim=1)  # [N, z_dim + e]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = F.leaky_relu(F.linear(x, weight, bias), 0.2) * math.sqrt(2)  # [N, out]
        return x

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by their canonical names."""
        result = {"mapping.w_avg": self.w_avg}
        if self.embed_weight is not None and self.embed_bias is not None:
            result["mapping.embed.weight"] = self.embed_weight
            result["mapping.embed.bias"] = self.embed_bias
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            result[f"mapping.fc{i}.weight"] = weight
            result[f"mapping.fc{i}.bias"] = bias
        return result

    def _check(self, z: Tensor, c: Tensor | None) -> None:
        if z.ndim != 2 or z.shape[1] != self.z_dim or not z.is_floating_point():
            raise InvalidInputError(
                f"z must be floating point [N, {self.z_dim}], got {z.dtype} {list(z.shape)}; draw it with "
                f"torch.randn(N, {self.z_dim})"
            )
        if self.c_dim and c is None:
            raise InvalidInputError(f"this generator is conditional: pass c as [N, {self.c_dim}] (one-hot labels)")
        if c is not None and not self.c_dim:
            raise InvalidInputError("this generator is unconditional: c must be None")
        if c is not None and c.shape != (z.shape[0], self.c_dim):
            raise InvalidInputError(f"c must be [{z.shape[0]}, {self.c_dim}], got {list(c.shape)}")


def estimate_w_avg(weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Return the mean W code `[w_dim]` of 20,000 fixed z, for networks published without one; deterministic."""
    network = MappingNetwork(weights, biases, num_ws=1, w_avg=weights[-1].new_zeros(weights[-1].shape[0]))
    generator = torch.Generator().manual_seed(_W_AVG_SEED)
    z = torch.randn(_W_AVG_SAMPLES, network.z_dim, generator=generator)  # [S, z_dim]
    with torch.no_grad():
        parts = [network.code(part).double().sum(0) for part in torch.split(z, 1000)]  # [w_dim] each
    return (torch.stack(parts).sum(0) / _W_AVG_SAMPLES).to(weights[0].dtype)  # [w_dim]


def _normalise(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + _EPSILON)  # [N, d]
