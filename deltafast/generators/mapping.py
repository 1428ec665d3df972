"""The mapping network z, c -> W, shared by all generators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.arguments import check_floating, tensor_of_array
from deltafast.errors import InvalidInputError
from deltafast.generators.activations import ACTIVATIONS
from deltafast.generators.equalised import FullyConnected, LabelProjection
from deltafast.generators.precision import FullPrecisionModule

__all__ = ["W_AVG_BETA", "MappingNetwork", "estimate_w_avg"]

_EPSILON = 1e-8
_W_AVG_SEED = 0
_W_AVG_SAMPLES = 20_000
W_AVG_BETA = 0.998  # the default of stylegan3's code


class MappingNetwork(FullPrecisionModule):
    """StyleGAN's mapping network: normalised z (and embedded c) through fully connected layers, then truncation.

    `layers` end with one of w_dim outputs; `embed` is the label's layer, or None where the generator is
    unconditional: a `FullyConnected`, whose result is normalised and then joined to the normalised z (StyleGAN2-ADA,
    arXiv 2006.06676), or a `LabelProjection`, whose result is joined to z before both are normalised (StyleGAN2, arXiv
    1912.04958). `folded` says that its canonical tensors have the layers' gains multiplied in; `w_avg_beta` is how much
    of `w_avg` stays when it is updated. Always computes in fp32 (or float64).
    """

    def __init__(
        self,
        layers: Sequence[FullyConnected],
        *,
        num_ws: int,
        w_avg: Tensor,
        embed: FullyConnected | LabelProjection | None = None,
        activation: str = "lrelu",
        folded: bool = False,
        w_avg_beta: float = W_AVG_BETA,
    ) -> None:
        super().__init__()
        self._folded = folded
        self.layers = nn.ModuleList(layers)
        self.embed = embed
        self.activation = activation
        self.w_avg_beta = w_avg_beta
        self.w_avg: Tensor
        self.register_buffer("w_avg", w_avg)
        self.num_ws = num_ws
        self.w_dim = w_avg.shape[0]
        self.c_dim = 0 if embed is None else embed.weight.shape[1]
        self.z_dim = layers[0].weight.shape[1] - (0 if embed is None else embed.weight.shape[0])

    def forward(
        self,
        z: Tensor | np.ndarray[Any, Any],
        c: Tensor | np.ndarray[Any, Any] | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
        *,
        skip_w_avg_update: bool | None = None,
    ) -> Tensor:
        """Map `z` `[N, z_dim]` (and `c` `[N, c_dim]`) to W+ `[N, num_ws, w_dim]`, every slot the same code.

        `truncation_psi` 1 leaves the codes as they are, 0 gives `w_avg`; only the first `truncation_cutoff` slots
        are truncated (None: all). `w_avg` moves towards the mean of these codes, by 1 - `w_avg_beta`, only where
        `update_emas` asks for it, as in StyleGAN3's code; `skip_w_avg_update` of StyleGAN2-ADA's is taken and changes
        nothing. `w_avg_beta` is the checkpoint's, 0.998 where it names none.
        z and c may be numpy arrays, and c `[N, 0]` where there are no labels. Raises `InvalidInputError` for a wrong
        shape, or for a missing or needless `c`.
        """
        if not isinstance(truncation_psi, (int, float, Tensor)):
            raise InvalidInputError(f"truncation_psi must be a number, got {truncation_psi!r}")
        if truncation_cutoff is not None and not hasattr(truncation_cutoff, "__index__"):
            raise InvalidInputError(f"truncation_cutoff must be a number of slots or None, got {truncation_cutoff!r}")
        w = self.code(z, c)  # [N, w_dim]
        if update_emas and len(w):
            with torch.no_grad():
                self.w_avg.copy_(w.mean(0).lerp(self.w_avg, self.w_avg_beta))
        ws = w.unsqueeze(1).expand(-1, self.num_ws, -1)  # [N, L, w_dim]
        if truncation_psi == 1:
            return ws.contiguous()
        truncated = torch.lerp(self.w_avg, ws, truncation_psi)  # [N, L, w_dim]
        if truncation_cutoff is None:
            return truncated
        return torch.cat([truncated[:, :truncation_cutoff], ws[:, truncation_cutoff:]], dim=1)  # [N, L, w_dim]

    def code(self, z: Tensor | np.ndarray[Any, Any], c: Tensor | np.ndarray[Any, Any] | None = None) -> Tensor:
        """Map `z` `[N, z_dim]` (and `c` `[N, c_dim]`) to one W code a sample, `[N, w_dim]`, not truncated."""
        z, c = self._checked(z, c)
        slope, gain = ACTIVATIONS[self.activation]
        if self.embed is None or c is None:
            x = _normalise(z)  # [N, z_dim]
        elif isinstance(self.embed, LabelProjection):
            x = _normalise(torch.cat([z, self.embed(c)], dim=1))  # [N, z_dim + e]
        else:
            x = torch.cat([_normalise(z), _normalise(self.embed(c))], dim=1)  # [N, z_dim + e]
        for layer in self.layers:
            x = F.leaky_relu(layer(x), slope) * gain  # [N, out]
        return x

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by their canonical names."""
        result = {"mapping.w_avg": self.w_avg}
        named = [(f"fc{i}", layer) for i, layer in enumerate(self.layers)]
        if isinstance(self.embed, LabelProjection):
            result["mapping.embed.weight"] = self.embed.weight
        elif self.embed is not None:
            named.append(("embed", self.embed))
        for name, layer in named:
            assert isinstance(layer, FullyConnected)
            result[f"mapping.{name}.weight"] = layer.weight * layer.weight_gain if self._folded else layer.weight
            result[f"mapping.{name}.bias"] = layer.bias * layer.bias_gain if self._folded else layer.bias
        return result

    def _checked(
        self, z: Tensor | np.ndarray[Any, Any], c: Tensor | np.ndarray[Any, Any] | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return z and c as tensors of this network's dtype, c None where there are no labels."""
        z = tensor_of_array(z, "z").to(self.w_avg.device) if isinstance(z, np.ndarray) else z
        c = _labels_of_array(c).to(self.w_avg.device) if isinstance(c, np.ndarray) else c
        for given, name in ((z, "z"), (c, "c")):
            if not isinstance(given, Tensor) and (given is not None or name == "z"):
                raise InvalidInputError(f"{name} must be a torch.Tensor or a numpy array, got {type(given).__name__}")
        if z.ndim != 2 or z.shape[1] != self.z_dim or not z.is_floating_point():
            raise InvalidInputError(
                f"z must be floating point [N, {self.z_dim}], got {z.dtype} {list(z.shape)}; draw it with "
                f"torch.randn(N, {self.z_dim})"
            )
        if z.device.type != "meta" or self.w_avg.device.type != "meta":  # shapes alone, on both sides
            check_floating(z, "z")
        if self.c_dim and c is None:
            raise InvalidInputError(f"this generator is conditional: pass c as [N, {self.c_dim}] (one-hot labels)")
        if c is not None and not self.c_dim and c.numel():
            raise InvalidInputError("this generator is unconditional: c must be None, or [N, 0]")
        if c is not None and c.shape != (z.shape[0], self.c_dim):
            raise InvalidInputError(f"c must be [{z.shape[0]}, {self.c_dim}], got {list(c.shape)}")
        if c is not None and (c.is_complex() or c.layout != torch.strided or (c.is_meta and not self.w_avg.is_meta)):
            raise InvalidInputError(
                f"c must be a dense tensor of real numbers, got {c.dtype}, {c.layout} on {c.device}"
            )
        return z.to(self.w_avg.dtype), c.to(self.w_avg.dtype) if c is not None and self.c_dim else None


def _labels_of_array(c: np.ndarray[Any, Any]) -> Tensor:
    """Labels as a tensor, whatever their byte order."""
    if c.dtype.kind not in "biuf" or c.dtype.itemsize > 8:
        raise InvalidInputError(f"c must hold plain numbers, got {c.dtype}")
    return torch.from_numpy(c.astype(np.float64))


def estimate_w_avg(weights: list[Tensor], biases: list[Tensor]) -> Tensor:
    """Return the mean W code `[w_dim]` of 20,000 fixed z, for networks published without one; deterministic.

    `weights[i]` `[out, in]` and `biases[i]` `[out]` have their gains multiplied in.
    """
    slope, gain = ACTIVATIONS["lrelu"]
    generator = torch.Generator().manual_seed(_W_AVG_SEED)
    z = torch.randn(_W_AVG_SAMPLES, weights[0].shape[1], generator=generator)  # [S, z_dim]
    parts = []
    with torch.no_grad():
        for part in torch.split(z, 1000):
            x = _normalise(part)
            for weight, bias in zip(weights, biases, strict=True):
                x = F.leaky_relu(F.linear(x, weight, bias), slope) * gain
            parts.append(x.double().sum(0))  # [w_dim]
    return (torch.stack(parts).sum(0) / _W_AVG_SAMPLES).to(weights[0].dtype)  # [w_dim]


def _normalise(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + _EPSILON)  # [N, d]
