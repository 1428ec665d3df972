"""E and D in plain torch: the training step and the edit as one writes them without fused ops.

Every slot's layer is part of one batched product, the first layers see each frame once and not once for each frame
pair, and Adam is torch's fused one: the form that deltafast itself had before its ops.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.ops import DeltaSizes, split_weights

__all__ = ["PlainTraining", "plain_edit", "plain_loss"]


class PlainTraining:
    """Training steps of E and D with torch's own noise; `advance()` makes one and returns its loss."""

    def __init__(self, weights: Tensor, x: Tensor, sizes: DeltaSizes, pairs: int, *, lr: float, noise: float) -> None:
        """Begin with `weights`, flat, on normalised latents `x` `[S, K, n, w_dim]`."""
        named = split_weights(weights.detach().clone(), sizes)
        self.parameters = {name: part.clone().requires_grad_() for name, part in named.items()}
        self.x = x
        self._layers = sizes.layers
        self._pairs = pairs
        self._noise = noise
        on_cuda = x.device.type == "cuda"
        self._optimiser = torch.optim.Adam(self.parameters.values(), lr=lr, fused=True, capturable=on_cuda)

    def advance(self) -> Tensor:
        """Make one step."""
        slots, identities, _, w_dim = self.x.shape
        device = self.x.device
        first = torch.randint(identities, (self._pairs,), device=device)  # [P]
        second = (first + torch.randint(1, identities, (self._pairs,), device=device)) % identities
        noise = self._noise * torch.randn(2, slots, self._pairs, 1, w_dim, device=device)
        loss = plain_loss(self.parameters, self._layers, self.x[:, first], self.x[:, second], noise[0], noise[1])
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return loss.detach()


def plain_loss(
    parameters: dict[str, Tensor], layers: int, a: Tensor, b: Tensor, noise_a: Tensor, noise_b: Tensor
) -> Tensor:
    """Return the paper's loss of latents `[S, P, n, w_dim]` and noise `[S, P, 1, w_dim]` over all frame pairs."""
    slots, pairs, frames, w_dim = a.shape
    i, j = torch.meshgrid(*[torch.arange(frames, device=a.device)] * 2, indexing="ij")  # [n, n] each
    kept = (i != j).flatten().nonzero_static(size=frames * (frames - 1))[:, 0]
    i, j = i.flatten()[kept], j.flatten()[kept]  # [Q] each

    def pick(x: Tensor, index: Tensor) -> Tensor:  # [S, P n, width] -> [S, P Q, width]
        return x.reshape(slots, pairs, frames, -1)[:, :, index].reshape(slots, pairs * len(index), -1)

    def hidden(network: str, x: Tensor) -> Tensor:
        x = F.leaky_relu(x, 0.2)
        for k in range(layers - 1):
            x = F.leaky_relu(_linear(parameters, f"{network}.hidden.{k}", x), 0.2)
        return x

    noisy = (a + noise_a).reshape(slots, pairs * frames, w_dim)
    between = pick(_linear(parameters, "encoder.source", noisy), i) + pick(
        _linear(parameters, "encoder.target", noisy), j
    )  # [S, P Q, width]
    delta = _linear(parameters, "encoder.output", hidden("encoder", between))  # [S, P Q, dim]
    code = _linear(parameters, "decoder.code", delta)  # [S, P Q, width]

    def error(x: Tensor) -> Tensor:
        latent = _linear(parameters, "decoder.latent", (x + noise_b).reshape(slots, pairs * frames, w_dim))
        change = _linear(parameters, "decoder.output", hidden("decoder", pick(latent, i) + code))  # [S, P Q, w_dim]
        return F.mse_loss(change, (x[:, :, j] - x[:, :, i]).reshape(change.shape))

    return error(a) + error(b)


def plain_edit(
    parameters: dict[str, Tensor],
    ws: Tensor,
    alpha: Tensor,
    delta: Tensor,
    slots: list[int],
    mean: Tensor,
    scale: Tensor,
) -> Tensor:
    """Return w + D(w, α·Δ) − D(w, 0) for `ws` `[N, num_ws, w_dim]`, `alpha` `[N]` and `delta` `[S, dim]`; one layer."""
    old = ws[:, slots]  # [N, S, w_dim]
    x = (old.transpose(0, 1).to(scale) - mean) / scale  # [S, N, w_dim]
    latent = _linear(parameters, "decoder.latent", x)  # [S, N, width]
    code = _linear(parameters, "decoder.code", delta[:, None] * alpha[:, None])  # [S, N, width]
    features = F.leaky_relu(latent + code, 0.2) - F.leaky_relu(latent, 0.2)
    change = torch.bmm(features, parameters["decoder.output.weight"]) * scale  # [S, N, w_dim]
    result = ws.clone()
    result[:, slots] = (old + change.transpose(0, 1)).to(ws.dtype)
    return result


def _linear(parameters: dict[str, Tensor], layer: str, x: Tensor) -> Tensor:
    bias = parameters.get(f"{layer}.bias")
    if bias is None:
        return torch.bmm(x, parameters[f"{layer}.weight"])
    return torch.baddbmm(bias, x, parameters[f"{layer}.weight"])
