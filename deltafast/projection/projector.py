"""What every projection needs: generator, encoder, refinement and measurement, set up once."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.arguments import check_count
from deltafast.errors import InvalidInputError
from deltafast.face_networks.identity import load_identity_distance
from deltafast.face_networks.landmarks import load_face_landmarks
from deltafast.generators.base import Generator
from deltafast.generators.w_statistics import WStatistics
from deltafast.pixels import as_rgb, to_arrays
from deltafast.progress import track
from deltafast.projection.encoder import Encoder, load_encoder
from deltafast.projection.fit import FitMeter, FitReport
from deltafast.projection.perceptual import FaceDistance
from deltafast.projection.photos import at_size
from deltafast.projection.refine import RefineConfig, RefineResult, refine

__all__ = ["PHOTO_SIZE", "ProjectionSettings", "Projector", "encode_images", "settings_as_json"]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow makes grey of colours
PHOTO_SIZE = 512
"""Pixels at which photos are compared with their reconstructions; what is finer is not looked at."""


@dataclass(frozen=True)
class ProjectionSettings:
    """What `project_*` does: refinement steps (0: the encoder alone) and, for sequences, which identities get them.

    `refined_identities` None means all; `compile` runs the synthesis through `torch.compile`; `class_index` is the
    class of a conditional generator whose W codes refined latents stay near, None all of them.
    """

    refine: RefineConfig = field(default_factory=RefineConfig)
    refined_identities: tuple[str, ...] | None = None
    batch_size: int = 1
    compile: bool = False
    class_index: int | None = None

    def __post_init__(self) -> None:
        check_count("batch_size", self.batch_size, 1)


@torch.inference_mode()
def encode_images(
    generator: Generator, images: Tensor, *, batch_size: int = 16, encoder: Encoder | None = None
) -> Tensor:
    """Encode aligned face images `[N, 3, H, W]` in [-1, 1] into W+ latents `[N, num_ws, w_dim]` of `generator`.

    Uses the bundled encoder unless another is given. The images must be aligned as FFHQ's are. Raises `EncoderError`
    when the encoder was trained for another latent space, `InvalidInputError` for wrong shapes or NaN.
    """
    encoder = encoder or load_encoder()
    encoder.check_generator(generator)
    encoder = encoder.to(generator.device)
    parts = [encoder.encode(images[i : i + batch_size].to(encoder.w_avg)) for i in range(0, len(images), batch_size)]
    return torch.cat(parts) if parts else encoder.w_avg.new_empty(0, generator.num_ws, generator.w_dim)


class Projector:
    """Generator, encoder and distance, set up once for many projections of pictures of `size` pixels.

    What only the refinement needs (the statistics of W, three networks) is loaded with its first use. `encoder` None
    takes the bundled one. Raises `EncoderError` when the encoder was trained for another latent space, `DownloadError`
    when a network of the refinement cannot be fetched.
    """

    def __init__(
        self,
        generator: Generator,
        encoder: Encoder | None = None,
        settings: ProjectionSettings | None = None,
        size: int = PHOTO_SIZE,
    ) -> None:
        encoder = encoder or _bundled_encoder()
        settings = settings or ProjectionSettings()
        encoder.check_generator(generator)
        self.generator = generator
        self.settings = settings
        self.size = min(size, generator.img_resolution)
        self.encoder = encoder.to(generator.device)
        self.synthesise: Callable[[Tensor], Tensor] = generator.compiled() if settings.compile else generator.synthesis
        self._statistics: WStatistics | None = None
        self._distance: FaceDistance | None = None
        self._fit: FitMeter | None = None

    @property
    def statistics(self) -> WStatistics:
        """The distribution of the generator's W codes, sampled with the first use."""
        if self._statistics is None:
            self._statistics = WStatistics.of(self.generator, class_index=self.settings.class_index)
        return self._statistics

    @property
    def distance(self) -> FaceDistance:
        """What the refinement makes small; its networks are loaded with the first use."""
        if self._distance is None:
            config = self.settings.refine
            landmarks = load_face_landmarks() if config.landmark_weight > 0 else None
            identity = load_identity_distance() if config.identity_weight > 0 else None
            distance = FaceDistance(self.encoder.backbone, landmarks, identity)
            self._distance = distance.to(self.generator.device)
        return self._distance

    def target(self, image: Tensor) -> Tensor:
        """Return an aligned face `[3, S, S]` in [-1, 1] as this projector looks at it, `[1, 3, size, size]`."""
        if image.ndim != 3 or image.shape[0] != 3 or min(image.shape[1:]) < 1:
            raise InvalidInputError(f"an aligned face is an image [3, S, S], got {list(image.shape)}")
        if self.generator.img_channels == 1:  # what it cannot show is not asked of it
            grey = image.new_tensor(_LUMA).view(3, 1, 1)
            image = (image * grey).sum(0, keepdim=True).expand(3, -1, -1)
        return at_size(image.to(self.encoder.w_avg), self.size)

    def project(self, images: Iterable[Tensor]) -> Tensor:
        """Project aligned faces, each `[3, S, S]` in [-1, 1] of its own S, into latents `[N, num_ws, w_dim]`.

        By the encoder, and as many steps of refinement from there as the settings say; each face on its own, so that
        its latent does not depend on its neighbours. No gradients are recorded.
        """
        rows = [self.encoder.w_avg.new_empty(0, self.generator.num_ws, self.generator.w_dim)]
        with torch.inference_mode(False), torch.enable_grad():
            for image in images:
                target = self.target(image.detach().clone())  # an ordinary tensor, not one of inference mode
                ws = self.encode(target)
                if self.settings.refine.steps > 0:
                    ws = self.refine(target, ws, shared_base=False).ws.detach()
                rows.append(ws)
        return torch.cat(rows)

    def fits(self, images: Iterable[Tensor], ws: Tensor) -> list[FitReport]:
        """Say of faces as `project` takes them how well their latents `ws` `[N, num_ws, w_dim]` show them."""
        found = []
        for image, w in zip(images, ws, strict=True):
            found += self.measure(self.target(image), self.images(w[None]), w[None])
        return found

    def encode(self, targets: Tensor) -> Tensor:
        """Encode `targets` `[N, 3, size, size]`; the result `[N, num_ws, w_dim]` can be refined."""
        with torch.inference_mode():
            ws = encode_images(self.generator, targets, encoder=self.encoder)
        return ws.clone()  # an ordinary tensor, not one of inference mode

    def refine(self, targets: Tensor, start: Tensor, *, shared_base: bool, state: Path | None = None) -> RefineResult:
        """Refine `start` towards `targets`, behind a progress bar; see `deltafast.projection.refine`."""
        with contextlib.closing(track(range(self.settings.refine.steps), "refining")) as bar:

            def taken(step: int) -> None:
                next(bar, None)

            return self._refine(targets, start, shared_base, state, taken)

    def _refine(
        self, targets: Tensor, start: Tensor, shared_base: bool, state: Path | None, on_step: Callable[[int], None]
    ) -> RefineResult:
        return refine(
            self.generator,
            self.distance,
            targets.to(start),
            start,
            self.settings.refine,
            statistics=self.statistics,
            shared_base=shared_base,
            batch_size=self.settings.batch_size,
            synthesise=self.synthesise,
            state=state,
            on_step=on_step,
        )

    @torch.inference_mode()
    def images(self, ws: Tensor) -> Tensor:
        """Synthesise `ws` one by one, reduced to `[N, 3, size, size]` in [-1, 1]."""
        size = (self.size, self.size)
        parts = [F.interpolate(as_rgb(self.synthesise(w[None]).float()), size, mode="area") for w in ws]
        return torch.cat(parts).clamp(-1, 1)

    def measure(self, targets: Tensor, images: Tensor, ws: Tensor) -> list[FitReport]:
        """Compare `targets` with `images`, both `[N, 3, size, size]`, the pictures of latents `ws`."""
        self._fit = self._fit or FitMeter()
        distances = self.statistics.distance(ws).tolist()
        pictures, pairs = to_arrays(targets), to_arrays(images)  # [N, size, size, 3]
        return [self._fit.measure(a, b, d) for a, b, d in zip(pictures, pairs, distances, strict=True)]


@functools.lru_cache(maxsize=1)
def _bundled_encoder() -> Encoder:
    return load_encoder()


def settings_as_json(settings: ProjectionSettings) -> dict[str, Any]:
    """Return the settings as JSON values, for the file by which a later call knows that it goes on."""
    values = asdict(settings)
    identities = values["refined_identities"]
    values["refined_identities"] = None if identities is None else sorted(set(identities))
    return values
