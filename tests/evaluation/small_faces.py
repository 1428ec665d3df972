"""Faces for tests without a face detector: a meter that reads a drawn face off any picture, and small sequences."""

from __future__ import annotations

import numpy as np
import torch

from deltafast.delta import DeltaConfig, Editor, train_editor
from deltafast.faces.head_points import POINTS
from deltafast.faces.meter import Face
from deltafast.faces.pose import rotation
from deltafast.generators.base import Generator
from deltafast.sequence_latents import GeneratorId, SequenceLatents

YAW = [-35.0, 0.0, 35.0]
SMILE = [0.0, 0.5, 1.0]


class DrawnMeter:
    """Takes every picture for a face: turned by how much brighter it is on the right, smiling by its contrast."""

    def measure(self, image: np.ndarray) -> Face:
        """Return the face that the picture's brightness stands for."""
        grey = image.astype(np.float64).mean(axis=2) / 255  # [S, S]
        half = grey.shape[1] // 2
        yaw = 40 * np.tanh(grey[:, half:].mean() - grey[:, :half].mean())
        head = POINTS @ rotation(yaw, 0.0).T  # [68, 3]
        landmarks = head[:, :2] * image.shape[0] / 5 + image.shape[0] / 2
        smile = 4 * grey.std()
        landmarks[48, 0] -= smile
        landmarks[54, 0] += smile
        block = grey.shape[0] // 8
        means = grey[: 8 * block, : 16 * (block // 2)].reshape(8, block, 16, -1).mean(axis=(1, 3)).ravel()  # [128]
        return Face(landmarks, means, 1.0)

    def measure_batch(self, images: list[np.ndarray], description: str = "") -> list[Face]:
        """Measure several."""
        return [self.measure(image) for image in images]


def sequences_of(generator: Generator, identities: int = 4) -> SequenceLatents:
    """Yaw and smile as different directions from random faces of a generator, three frames each."""
    random = torch.Generator().manual_seed(3)
    shape = (generator.num_ws, generator.w_dim)
    turn, smile = (torch.randn(shape, generator=random) for _ in range(2))
    latents = {}
    names = ["female", "male", *(f"identity-{k:03d}" for k in range(identities - 2))]
    for name in names:
        base = torch.randn(shape[1], generator=random).expand(shape)
        gain = 1 + 0.2 * float(torch.tanh(base[0, 0]))
        latents["yaw", name] = torch.stack([base + gain * value / 35 * turn for value in YAW])
        latents["smile", name] = torch.stack([base + gain * value * smile for value in SMILE])
    return SequenceLatents({"yaw": YAW, "smile": SMILE}, names, latents, GeneratorId.of(generator))


def editor_of(sequences: SequenceLatents, attribute: str) -> Editor:
    """A quickly trained editor."""
    config = DeltaConfig(slots=(0, 1, 2, 3), dim=4, width=16, steps=60, pairs=2, lr=1e-2)
    return train_editor(sequences, attribute, config)
