"""The distribution of a generator's W codes, and how far a latent lies from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deltafast.errors import InvalidInputError
from deltafast.generators.base import Generator
from deltafast.generators.seeds import class_labels

__all__ = ["WStatistics"]

_SAMPLES = 4096
_SEED = 20_000_000
_FLOOR = 1e-4  # of the largest variance: directions narrower than this count as this wide


@dataclass(frozen=True)
class WStatistics:
    """Mean and principal axes of W: `mean` `[w_dim]`, `axes` `[w_dim, w_dim]` (one in each column), `deviations`.

    `deviations` `[w_dim]` are the standard deviations along the axes.
    """

    mean: Tensor
    axes: Tensor
    deviations: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, generator: Generator, samples: int = _SAMPLES, *, class_index: int | None = None) -> WStatistics:
        """Sample the mapping network, always the same way; of a conditional generator one class, or all in turn.

        Takes about half a second on two cores. Raises `InvalidInputError` for fewer than two samples, and for a class
        that is not there.
        """
        if samples < 2:
            raise InvalidInputError(f"statistics need at least 2 samples, got {samples}")
        z = torch.randn(samples, generator.z_dim, generator=torch.Generator().manual_seed(_SEED))
        device = generator.device
        labels = class_labels(generator, None if class_index is None else [class_index], samples)
        w = generator.mapping(z.to(device, generator.code_dtype), labels)[:, 0].double()  # [samples, w_dim]
        variances, axes = torch.linalg.eigh(torch.cov(w.T))  # ascending
        deviations = variances.clamp_min(_FLOOR * float(variances[-1])).sqrt()
        return cls(w.mean(0).float(), axes.float().contiguous(), deviations.float())

    def whiten(self, offsets: Tensor) -> Tensor:
        """Express offsets in W `[..., w_dim]` in units of the deviations along the axes, `[..., w_dim]`."""
        return (offsets @ self.axes) / self.deviations

    def unwhiten(self, coordinates: Tensor) -> Tensor:
        """Turn what `whiten` gives back into offsets in W, `[..., w_dim]`."""
        return (coordinates * self.deviations) @ self.axes.T

    def distance(self, ws: Tensor) -> Tensor:
        """How far latents `[N, num_ws, w_dim]` lie from the mean, in deviations: root mean square, `[N]`.

        Codes that the mapping network gives have 1 on average (psi with truncation psi); what is far beyond is a
        latent that the generator was never trained on, where edits become unpredictable.
        """
        return self.whiten(ws.to(self.mean) - self.mean).square().mean((1, 2)).sqrt()
