"""Face meshes and a network that reads them, made up: 478 points in an ellipse, moved as an image's corner says."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deltafast.face_networks.landmarks import LANDMARK_PARTS, LandmarkReading

LIDS = ((159, 145), (158, 153), (160, 144)), ((386, 374), (385, 380), (387, 373))


def mesh(open_eyes: float = 0.04) -> NDArray[np.float64]:
    """Points `[478, 2]` of a face in the middle of the picture; lids lie `open_eyes` of its side apart."""
    random = np.random.default_rng(0)
    angle, radius = random.uniform(0, 2 * np.pi, 478), np.sqrt(random.uniform(0, 1, 478))
    points = 0.5 + 0.25 * np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    for k, (lids, x) in enumerate(zip(LIDS, (0.4, 0.6), strict=True)):
        eye = LANDMARK_PARTS["eyes"][16 * k : 16 * k + 16]
        points[list(eye)] = np.stack([np.linspace(x - 0.05, x + 0.05, 16), np.full(16, 0.45)], axis=1)
        points[list(LANDMARK_PARTS["irises"][5 * k : 5 * k + 5])] = (x, 0.45)
        for j, (upper, lower) in enumerate(lids):
            points[upper] = (x + 0.02 * (j - 1), 0.45 - open_eyes / 2)
            points[lower] = (x + 0.02 * (j - 1), 0.45 + open_eyes / 2)
    points[61], points[291] = (0.42, 0.62), (0.58, 0.62)
    return points


class CornerLandmarks(nn.Module):
    """Reads the made-up mesh, moved to the right by a tenth of the value of an image's upper left pixel."""

    def __init__(self, presence: float = 1.0) -> None:
        super().__init__()
        self.presence = presence

    def read(self, images: Tensor) -> LandmarkReading:
        """As `FaceLandmarks.read`."""
        moved = torch.from_numpy(mesh()).to(images)[None] + torch.stack(
            [images[:, 0, 0, 0] / 10, torch.zeros(len(images))], dim=-1
        ).unsqueeze(1)
        return LandmarkReading(moved, moved[..., 0], torch.full((len(images),), self.presence))


def landmarks(presence: float = 1.0) -> Any:
    """The network, as a stand-in for `FaceLandmarks`."""
    return CornerLandmarks(presence)
