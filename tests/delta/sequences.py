"""Small sequence latents whose change along the attribute depends on the identity, as real ones do."""

from __future__ import annotations

import math

import torch

from deltafast.sequence_latents import GeneratorId, SequenceLatents

GENERATOR = GeneratorId("made-up", "0" * 64, "made-up-w")
YAW = [-30.0, -15.0, 0.0, 15.0, 30.0]
SMILE = [0.0, 0.25, 0.5, 0.75, 1.0]


def make_sequences(
    identities: int = 6,
    num_ws: int = 6,
    w_dim: int = 16,
    *,
    noise: float = 0.01,
    generator: GeneratorId = GENERATOR,
) -> SequenceLatents:
    """Yaw (two-sided, bent) and smile (one-sided), stronger for some identities than for others."""
    random = torch.Generator().manual_seed(5)
    turn, bend, smile = torch.randn(3, num_ws, w_dim, generator=random)  # [num_ws, w_dim] each
    names = ["female", "male", *(f"random-{k:03d}" for k in range(identities - 2))]
    latents = {}
    for name in names:
        base = torch.randn(w_dim, generator=random).expand(num_ws, -1)
        gain = 1 + 0.3 * math.tanh(float(base[0, 0]))
        for attribute, values in (("yaw", YAW), ("smile", SMILE)):
            frames = []
            for value in values:
                t = value / 30 if attribute == "yaw" else value
                change = t * turn + 0.3 * t * t * bend if attribute == "yaw" else t * smile
                frames.append(base + gain * change + noise * torch.randn(num_ws, w_dim, generator=random))
            latents[attribute, name] = torch.stack(frames)
    return SequenceLatents({"yaw": YAW, "smile": SMILE}, names, latents, generator, source="a" * 64)
