"""The second stage of training an encoder: losses on the images that its latents give.

The first stage asks for the codes of sampled images. This one looks at pictures: the generator turns the encoder's
latents into images, and these are compared with the originals (features, pixels, landmarks, the person), which weighs
every error of a code by what can be seen of it. So it can also learn from pictures without a latent, such as the
synthetic heads, whose bald scalps and hard light no sample shows. The networks that judge results have no part in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.arguments import check_count, check_not_negative, check_seed
from deltafast.errors import InvalidInputError
from deltafast.face_networks.identity import load_identity_distance
from deltafast.face_networks.landmarks import load_face_landmarks
from deltafast.generators.base import Generator
from deltafast.generators.w_statistics import WStatistics
from deltafast.peers import Peers
from deltafast.pixels import as_rgb, to_floats
from deltafast.progress import track
from deltafast.projection.augmentation import degrade
from deltafast.projection.backbone import load_imagenet_backbone
from deltafast.projection.encoder import Encoder
from deltafast.projection.perceptual import FaceDistance
from deltafast.projection.photos import read_face
from deltafast.projection.sampling import expand_codes, read_pairs
from deltafast.runs import load_state, save_state
from deltafast.schedule import cosine_rate

__all__ = ["ImageTraining", "train_through_generator"]

_SIZE = 256  # pixels at which images are compared
_FROZEN = 7  # layers 0..6 of the backbone keep their ImageNet weights
_SAVE_EVERY = 20
_WARM_UP = 10  # steps
_MEASURED = 12  # held-out pictures of each kind


@dataclass(frozen=True)
class ImageTraining:
    """Settings of the second stage; the defaults are those of the bundled encoder.

    - `steps`: none leaves the first stage's encoder; `pairs`, `heads`: pictures of each kind in a step.
    - `lr`: peak of a cosine schedule.
    - `latent_weight` (pairs only), `perceptual_weight`, `pixel_weight`, `landmark_weight`, `identity_weight`: of the
      distances; `prior_weight`: of the squared distance of the codes from the mean of W, in its deviations (heads
      only, whose latents are not known).
    """

    steps: int = 300
    pairs: int = 2
    heads: int = 2
    lr: float = 1e-4
    latent_weight: float = 1.0
    perceptual_weight: float = 1.0
    pixel_weight: float = 0.5
    landmark_weight: float = 5.0
    identity_weight: float = 0.5
    prior_weight: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name, least in (("steps", 0), ("pairs", 0), ("heads", 0)):
            check_count(name, getattr(self, name), least)
        for name in (field.name for field in fields(self) if field.name.endswith("weight") or field.name == "lr"):
            check_not_negative(name, getattr(self, name))


def train_through_generator(
    generator: Generator,
    encoder: Encoder,
    shards: list[Path],
    held_out: list[Path],
    heads: Path | None,
    settings: ImageTraining,
    *,
    class_index: int | None = None,
    state: Path,
    group: Peers | None = None,
) -> dict[str, Any]:
    """Train `encoder` in place on `shards` of pairs and, where given, on a folder of rendered `heads`.

    The encoder goes to the generator's device. `class_index`: of a conditional generator, the class of the pairs.
    Returns the mean distances on held-out pictures before and after, as JSON values. `state` holds the run every few
    steps, so that an interrupted call goes on there. The processes of `group` share the pictures of every step; the
    first measures, and what it returns is theirs to report. Raises `InvalidInputError` when `heads` holds no pictures.
    """
    group = group or Peers()
    pictures = [] if heads is None else sorted(heads.rglob("*.png"))
    if heads is not None and len(pictures) <= _MEASURED:
        raise InvalidInputError(f"{heads} holds {len(pictures)} pictures, at least {_MEASURED + 1} are needed")
    statistics = WStatistics.of(generator, class_index=class_index)
    stage = _Stage(generator, encoder, shards, pictures, settings, statistics, group)
    if group.is_first and not stage.restore(state):
        stage.figures["before"] = stage.measure(held_out)
        stage.save(state)
    group.wait()
    if not group.is_first:
        stage.restore(state)
    for _ in track(range(stage.step, settings.steps), "encoder, through the generator"):
        stage.advance()
        if stage.step % _SAVE_EVERY == 0 and group.is_first:
            stage.save(state)
    if "after" not in stage.figures and group.is_first:
        stage.figures["after"] = stage.measure(held_out)
        stage.save(state)
    return stage.figures


class _Stage:
    def __init__(
        self,
        generator: Generator,
        encoder: Encoder,
        shards: list[Path],
        pictures: list[Path],
        settings: ImageTraining,
        statistics: WStatistics,
        group: Peers,
    ) -> None:
        self.generator = generator
        self.encoder = encoder.to(generator.device).eval()
        self.shards = shards
        # every picture stays what it is in each run: the held-out ones are spread over the sorted list
        apart = max(1, len(pictures) // _MEASURED)
        self.held_out_heads = pictures[::apart][:_MEASURED]
        self.heads = [path for path in pictures if path not in set(self.held_out_heads)]
        self.settings = settings
        self.statistics = statistics
        distance = FaceDistance(load_imagenet_backbone(), load_face_landmarks(), load_identity_distance())
        self.distance = distance.to(generator.device)
        self.size = min(_SIZE, generator.img_resolution)
        self.step = 0
        self.figures: dict[str, Any] = {}
        encoder.requires_grad_(False)
        trained = [*encoder.backbone.features[_FROZEN:].parameters(), *encoder.head.parameters()]
        for parameter in trained:
            parameter.requires_grad_(True)
        self.optimiser = torch.optim.AdamW(trained, settings.lr, weight_decay=0.0)
        self.group = group
        self.model = group.together(encoder)

    def advance(self) -> None:
        settings = self.settings
        random = torch.Generator().manual_seed(settings.seed * 104729 + self.step)
        codes, paired = self._draw_pairs(random)  # [P, groups, w_dim], [P, 3, R, R]
        targets = torch.cat([paired, *self._draw_heads(random)])  # [P + H, 3, R, R]
        seen = degrade(targets, random).to(self.generator.device)
        own = self.group.share(len(targets))
        predicted: Tensor = self.model(seen[own])  # [own, groups, w_dim]
        gradient = torch.zeros_like(predicted)
        for place, row in enumerate(range(own.start, own.stop)):  # one by one: the generator's activations take memory
            code = predicted[place : place + 1].detach().requires_grad_(True)
            loss = self._image_loss(code, targets[row : row + 1].to(code.device))
            if row < len(codes):
                error = (code - codes[row].to(code.device)) / self.encoder.w_scale
                loss = loss + settings.latent_weight * error.square().mean()
            else:
                loss = loss + settings.prior_weight * self.statistics.distance(code).square().mean()
            gradient[place] = torch.autograd.grad(loss, code)[0][0] / len(targets) * self.group.count
        self.optimiser.zero_grad()
        predicted.backward(gradient)  # type: ignore[no-untyped-call]
        for group in self.optimiser.param_groups:
            group["lr"] = settings.lr * cosine_rate(self.step, settings.steps, _WARM_UP)
        self.optimiser.step()
        self.step += 1

    def _image_loss(self, code: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            described = self.distance.describe(target)
        terms = self.distance(self._image(code), described)
        settings = self.settings
        total: Tensor = (
            settings.perceptual_weight * terms["perceptual"]
            + settings.pixel_weight * terms["pixel"]
            + settings.landmark_weight * terms["landmark"]
            + settings.identity_weight * terms["identity"]
        ).sum()
        return total

    def _image(self, codes: Tensor) -> Tensor:
        ws = expand_codes(codes, self.encoder.config.groups)
        factor = self.generator.img_resolution // self.size
        return F.avg_pool2d(as_rgb(self.generator.synthesis(ws).float()), factor)  # [N, 3, R, R]

    def _draw_pairs(self, random: torch.Generator) -> tuple[Tensor, Tensor]:
        shard = self.shards[int(torch.randint(len(self.shards), (), generator=random))]
        codes, images = next(read_pairs([shard]))
        rows = torch.randperm(len(codes), generator=random)[: self.settings.pairs]
        return codes[rows], self._resized(to_floats(images[rows]))

    def _draw_heads(self, random: torch.Generator) -> list[Tensor]:
        if not self.heads:
            return []
        drawn = torch.randint(len(self.heads), (self.settings.heads,), generator=random).tolist()
        return [read_face(self.heads[i], self.size) for i in drawn]

    def _resized(self, images: Tensor) -> Tensor:
        size = (self.size, self.size)
        return images if tuple(images.shape[-2:]) == size else F.interpolate(images, size, mode="area")

    @torch.no_grad()
    def measure(self, held_out: list[Path]) -> dict[str, Any]:
        """Mean distances of held-out pairs and heads from their reconstructions."""
        _, images = next(read_pairs(held_out[:1]))
        kinds = {"pairs": self._resized(to_floats(images[:_MEASURED]))}
        if self.held_out_heads:
            kinds["heads"] = torch.cat([read_face(path, self.size) for path in self.held_out_heads])
        result: dict[str, Any] = {}
        for kind, targets in kinds.items():
            rows = []
            for number in range(len(targets)):
                target = targets[number : number + 1].to(self.generator.device)  # [1, 3, R, R]
                rows.append(self.distance(self._image(self.encoder(target)), self.distance.describe(target)))
            result[kind] = {name: round(float(torch.cat([row[name] for row in rows]).mean()), 5) for name in rows[0]}
        return result

    def save(self, path: Path) -> None:
        state = {
            "encoder": self.encoder.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "figures": self.figures,
            "step": self.step,
        }
        save_state(path, state, asdict(self.settings))

    def restore(self, path: Path) -> bool:
        saved = load_state(path, asdict(self.settings))
        if saved is None:
            return False
        self.encoder.load_state_dict(saved["encoder"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.figures = saved["figures"]
        self.step = int(saved["step"])
        return True
