"""What an edit does to faces, through the generator: the loss on images of `loss="precise"`.

Sampled faces are edited. The measure that the synthetic sequence moves most should change as the sequence says, every
other measure and the identity should not. The networks that look (MediaPipe's face mesh, SFace) are not those that
judge results.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deltafast.delta.amounts import reduced
from deltafast.delta.config import PreciseConfig
from deltafast.errors import InvalidInputError
from deltafast.face_networks.identity import load_identity_distance
from deltafast.face_networks.landmarks import load_face_landmarks
from deltafast.face_networks.measures import FACE_MEASURES, FaceMeasures
from deltafast.generators.base import Generator
from deltafast.pixels import as_rgb
from deltafast.progress import track

__all__ = ["FaceFeedback"]

_IDENTITIES = 8  # whose synthetic sequences say what the attribute changes


class FaceFeedback:
    """The faces that are edited, what the synthetic sequences ask for, and the loss of an edited latent.

    - `faces` `[faces, num_ws, w_dim]`: the latents that are edited.
    - `measure`: name of the measure that the sequence moves most, in standard deviations over the faces.
    - `target`: how much α = 1 should move it, times the config's `target_gain`.
    """

    def __init__(
        self,
        generator: Generator,
        frames: Tensor,
        amounts: Tensor,
        config: PreciseConfig,
        seed: int,
        asked: tuple[str, float] | None = None,
    ) -> None:
        """Look at the faces and at the synthetic sequences; takes a minute on a CPU.

        `frames` `[K, n, num_ws, w_dim]`: latents of the sequences; `amounts` `[n]`: the α of each frame. `asked`: the
        measure, and its change by α = 1, that is wanted whatever the sequences show. Raises `InvalidInputError` where
        the sequences move no measure.
        """
        self._generator = generator
        self._config = config
        self._measures = FaceMeasures(load_face_landmarks()).to(generator.device)
        self._identity = load_identity_distance().to(generator.device)
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(config.faces, generator.z_dim, generator=random)
        psi = config.psi_low + (config.psi_high - config.psi_low) * torch.rand(config.faces, 1, 1, generator=random)
        with torch.no_grad():
            codes = generator.mapping(z.to(generator.device)).float()  # [faces, num_ws, w_dim]
            self.faces = torch.lerp(generator.w_avg.float().expand_as(codes), codes, psi.to(codes))
            measures, descriptors = [], []
            for row in track(range(config.faces), "looking at sampled faces"):
                image = self._image(self.faces[row : row + 1])
                measures.append(self._measures(image))
                descriptors.append(self._identity.describe(image))
        self._before = torch.cat(measures)  # [faces, measures]
        self._descriptors = torch.cat(descriptors)  # [faces, 128]
        self._spread = self._before.std(0).clamp_min(1e-6)  # [measures]
        if asked is None:
            moved = self._moved_by_sequences(frames, amounts.to(self._before))  # [measures]
        else:
            moved = torch.zeros_like(self._spread)
            moved[FACE_MEASURES.index(asked[0])] = asked[1]
        own = int((moved / self._spread).abs().argmax())
        self.measure = FACE_MEASURES[own]
        self.target = config.target_gain * float(moved[own])
        if abs(float(moved[own])) < 0.05 * float(self._spread[own]):
            raise InvalidInputError(
                'the sequences change nothing that can be measured on faces; loss="precise" cannot be used with them'
            )
        self._own = own
        # eyes may go on looking at the camera when the head turns: where they look is kept by no edit
        self._others = [k for k, name in enumerate(FACE_MEASURES) if k != own and name != "gaze"]

    def loss(self, ws: Tensor, face: int, amount: float) -> Tensor:
        """Return the loss, a scalar, of `ws` `[1, num_ws, w_dim]`: face number `face`, edited by α = `amount`."""
        image = self._image(ws)
        change = (self._measures(image)[0] - self._before[face]) / self._spread  # [measures]
        wanted = amount * self.target / self._spread[self._own]
        identity_lost = self._identity(image, self._descriptors[face : face + 1])[0]
        config = self._config
        total: Tensor = (
            config.target * (change[self._own] - wanted).square()
            + config.leak * change[self._others].square().mean()
            + config.identity * identity_lost
        )
        return total

    @torch.no_grad()
    def changes(self, ws: Tensor, faces: Sequence[int]) -> Tensor:
        """Return by how much each measure `[N, measures]` of the faces of these numbers differs in `ws`.

        `ws` `[N, num_ws, w_dim]`: those faces, edited.
        """
        rows = [
            self._measures(self._image(one[None]))[0] - self._before[face] for one, face in zip(ws, faces, strict=True)
        ]
        return torch.stack(rows)

    @torch.no_grad()
    def _moved_by_sequences(self, frames: Tensor, amounts: Tensor) -> Tensor:
        """How much α = 1 changes each measure, `[measures]`: slopes through the neutral frame, median over heads."""
        count = min(_IDENTITIES, len(frames))
        chosen = [k * len(frames) // count for k in range(count)]
        neutral = int(amounts.abs().argmin())
        slopes = []
        for k in track(chosen, "looking at synthetic sequences"):
            rows = [self._measures(self._image(ws[None].to(self.faces))) for ws in frames[k]]
            change = torch.cat(rows) - rows[neutral]  # [n, measures]
            slopes.append(amounts @ change / amounts.square().sum())
        return torch.stack(slopes).median(0).values

    def _image(self, ws: Tensor) -> Tensor:
        return reduced(as_rgb(self._generator.synthesis(ws).float()))  # [N, 3, r, r]
