"""A generator as small as can be, and editors for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from deltafast.delta import DeltaConfig, Editor, train_editor
from deltafast.sequence_latents import GeneratorId, SequenceLatents

L, C = 6, 16


class MatrixGenerator(nn.Module):
    """As small as a generator can be: images are a matrix times ws; it notes the batches it is asked for."""

    name, fingerprint, w_space, slots = "tiny", "2" * 64, "tiny-w", ()
    num_ws, w_dim, img_channels, img_resolution, img_size = L, C, 3, 4, (4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.w_avg = nn.Parameter(torch.zeros(C), requires_grad=False)
        matrix = torch.randn(L * C, 48, generator=torch.Generator().manual_seed(0)) / 10
        self.matrix = nn.Parameter(matrix, requires_grad=False)
        self.batches: list[int] = []

    @property
    def device(self) -> torch.device:
        return self.w_avg.device

    @property
    def code_dtype(self) -> torch.dtype:
        return self.w_avg.dtype

    def synthesis(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        """ws `[N, L, C]` to images `[N, 3, 4, 4]`."""
        self.batches.append(len(ws))
        return (ws.flatten(1) @ self.matrix).reshape(-1, 3, 4, 4)


def sequences(attribute: str, generator: Any, num_ws: int = L, w_dim: int = C) -> SequenceLatents:
    """Sequences of three identities along one curved path."""
    random = torch.Generator().manual_seed(len(attribute))
    direction, bend = torch.randn(2, num_ws, w_dim, generator=random)
    t = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])[:, None, None]
    latents = {}
    for name in ("a", "b", "c"):
        base = torch.randn(1, num_ws, w_dim, generator=random)
        latents[attribute, name] = base + t * direction * (1 + 0.2 * base.tanh()) + t * t * bend
    return SequenceLatents({attribute: t.flatten().tolist()}, list("abc"), latents, GeneratorId.of(generator))


def train(
    attribute: str, slots: tuple[int, ...], generator: Any, form: str = "jump", layers: int = 1, **shape: int
) -> Editor:
    """An editor of `slots`, trained for a moment."""
    config = DeltaConfig(
        slots=slots, dim=4, width=16, steps=60 if form == "jump" else 8, pairs=3, lr=1e-2, form=form, layers=layers
    )
    return train_editor(sequences(attribute, generator, **shape), attribute, config)
