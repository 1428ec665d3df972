"""Refinement of projected latents in W+, starting at the encoder's answer and staying near the W distribution.

A group of frames of one identity is refined together: what is wrong with all of them is mended once, in a shared
base, and only what is left goes into the frames' own offsets, which are held more tightly. So the differences
between frames, from which the edits are learned, keep the meaning that the encoder gave them.

The search runs in whitened coordinates of W (`WStatistics`): a step along a direction is as long as W is wide there,
and the pull towards the start is a Mahalanobis distance, so latents stay where the generator was trained.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.errors import InvalidInputError, ResumeError
from deltafast.generators.base import Generator
from deltafast.generators.w_statistics import WStatistics
from deltafast.pixels import as_rgb
from deltafast.projection.perceptual import FaceDistance
from deltafast.runs import load_state, save_state
from deltafast.schedule import cosine_rate

__all__ = ["PREFERENCES", "RefineConfig", "RefineResult", "refine"]

PREFERENCES = {"fidelity": 0.1, "balanced": 1.0, "editability": 10.0}
"""How strongly a preference pulls refined latents towards the start, as a multiple of the configured weights."""

_CHECKPOINT_EVERY = 5
_WARM_UP = 5  # steps


@dataclass(frozen=True)
class RefineConfig:
    """Settings of the refinement; lengths in W+ are in units of the W codes' standard deviations.

    - `steps`: at most so many; `patience`: stop when the loss has not fallen by `min_improvement` (a share of it)
      for so many steps.
    - `lr`: length of a step along each direction at the peak of the schedule.
    - `pixel_weight`, `landmark_weight`, `identity_weight`: beside the perceptual distance, whose weight is 1.
    - `base_weight`, `offset_weight`: pull towards the start, of an image's latent (of an identity's shared base) and
      of the single frames' offsets; `prefer` multiplies both: "fidelity" follows the picture further, "editability"
      stays closer to the W distribution, where edits act as they do on sampled faces.

    Raises `InvalidInputError` for values out of range.
    """

    steps: int = 50
    lr: float = 0.12
    pixel_weight: float = 0.5
    landmark_weight: float = 5.0
    identity_weight: float = 0.5
    base_weight: float = 0.02
    offset_weight: float = 0.1
    patience: int = 10
    min_improvement: float = 0.002
    prefer: str = "balanced"

    def __post_init__(self) -> None:
        if self.steps < 0 or self.patience < 1:
            raise InvalidInputError(
                f"steps must be at least 0 and patience at least 1, got {self.steps} and {self.patience}"
            )
        weights = ("pixel_weight", "landmark_weight", "identity_weight", "base_weight", "offset_weight")
        for name in ("lr", *weights, "min_improvement"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise InvalidInputError(f"{name} must be a finite number that is not negative, got {value!r}")
        if self.prefer not in PREFERENCES:
            raise InvalidInputError(f"prefer must be one of {', '.join(PREFERENCES)}; got {self.prefer!r}")


@dataclass
class RefineResult:
    """Refined latents `ws` `[N, num_ws, w_dim]`; `start` and `end`: each distance before and after, name to `[N]`.

    `steps` is how many were taken.
    """

    ws: Tensor
    start: dict[str, Tensor]
    end: dict[str, Tensor]
    steps: int


def refine(
    generator: Generator,
    distance: FaceDistance,
    targets: Tensor,
    start: Tensor,
    config: RefineConfig,
    *,
    statistics: WStatistics,
    shared_base: bool,
    batch_size: int = 1,
    synthesise: Callable[[Tensor], Tensor] | None = None,
    state: Path | None = None,
    on_step: Callable[[int], bool | None] | None = None,
) -> RefineResult:
    """Refine `start` so that the generator's images come closer to `targets`.

    targets: `[N, 3, R, R]` in [-1, 1], R a divisor of the generator's resolution; start: `[N, num_ws, w_dim]`.
    With `shared_base` all N frames are one identity and share a base; without, every frame is on its own.
    `synthesise` replaces `generator.synthesis` (a compiled form of it, say). With `state`, a file that holds the
    optimiser's state every few steps, an interrupted call goes on where it was and ends with the same result; the state
    of other targets, or of other settings, is left unused. `on_step` is called with the number of each step that was
    taken; where it returns False, no more are.
    Raises `InvalidInputError` for wrong shapes or NaN.
    """
    _check(generator, targets, start)
    run = _Refinement(
        generator, distance, targets, start, config, statistics, shared_base, batch_size, synthesise, state
    )
    while not run.finished():
        step = run.step
        run.advance()
        if on_step is not None and on_step(step) is False:
            break
    return run.result()


def _check(generator: Generator, targets: Tensor, start: Tensor) -> None:
    if start.ndim != 3 or tuple(start.shape[1:]) != (generator.num_ws, generator.w_dim):
        raise InvalidInputError(f"start must be [N, {generator.num_ws}, {generator.w_dim}], got {tuple(start.shape)}")
    if targets.ndim != 4 or len(targets) != len(start) or generator.img_resolution % targets.shape[-1]:
        raise InvalidInputError(
            f"targets must be [{len(start)}, 3, R, R] with R dividing {generator.img_resolution}, "
            f"got {tuple(targets.shape)}"
        )
    if not (bool(torch.isfinite(start).all()) and bool(torch.isfinite(targets).all())):
        raise InvalidInputError("start and targets must be finite")


class _Refinement:
    """The state of one refinement: whitened base and offsets, optimiser, and the losses so far."""

    def __init__(
        self,
        generator: Generator,
        distance: FaceDistance,
        targets: Tensor,
        start: Tensor,
        config: RefineConfig,
        statistics: WStatistics,
        shared_base: bool,
        batch_size: int,
        synthesise: Callable[[Tensor], Tensor] | None,
        state: Path | None,
    ) -> None:
        self.render: Callable[[Tensor], Tensor] = synthesise or generator.synthesis
        self.factor = generator.img_resolution // targets.shape[-1]
        self.distance = distance
        self.start = start
        self.config = config
        self.statistics = statistics
        self.shared = shared_base
        self.frames = len(start) if shared_base else 1  # that share a base: their losses are averaged
        self.state = state
        self.made_for: dict[str, Any] = {}
        if state is not None:
            self.made_for = {"config": asdict(config), "shared": shared_base, "of": _digest(targets, start)}
        self.base = torch.zeros_like(start[:1] if shared_base else start).requires_grad_(True)  # [1 or N, L, D]
        self.offsets = torch.zeros_like(start).requires_grad_(shared_base)  # [N, L, D]
        variables = [self.base, self.offsets] if shared_base else [self.base]
        self.optimiser = torch.optim.Adam(variables, config.lr, betas=(0.9, 0.95))
        self.batches = [slice(i, i + batch_size) for i in range(0, len(start), batch_size)]
        with torch.no_grad():
            self.described = [distance.describe(targets[rows]) for rows in self.batches]
        self.losses: list[float] = []  # one for each step taken
        self.first: dict[str, Tensor] = {}  # the distances at the start
        self._restore()

    @property
    def step(self) -> int:
        """Number of the next step."""
        return len(self.losses)

    def finished(self) -> bool:
        patience = self.config.patience
        if self.step >= self.config.steps:
            return True
        if self.step <= patience:
            return False
        best = min(self.losses[:-patience])
        return min(self.losses[-patience:]) > best * (1 - self.config.min_improvement)

    def advance(self) -> None:
        """Take one step and, every few, save the state."""
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = config.lr * cosine_rate(self.step, config.steps, _WARM_UP)
        self.optimiser.zero_grad()
        total = 0.0
        measured = []
        for rows, described in zip(self.batches, self.described, strict=True):
            terms = self.distance(self._image(self._latents(rows)), described)
            loss = self._weighted(terms).sum() / self.frames
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
            measured.append({name: value.detach() for name, value in terms.items()})
        pull = PREFERENCES[config.prefer]
        penalty = config.base_weight * pull * self.base.square().mean((1, 2)).sum()
        if self.shared:
            penalty = penalty + config.offset_weight * pull * self.offsets.square().mean((1, 2)).mean()
        penalty.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        if not self.losses:
            self.first = _joined(measured)
        self.losses.append(total + float(penalty.detach()))
        if self.state is not None and self.step % _CHECKPOINT_EVERY == 0:
            self._save(self.state)

    def result(self) -> RefineResult:
        """Measure what has been reached."""
        with torch.no_grad():
            end = _joined(
                [
                    self.distance(self._image(self._latents(rows)), described)
                    for rows, described in zip(self.batches, self.described, strict=True)
                ]
            )
            ws = self._latents(slice(None)).detach()
        return RefineResult(ws, self.first or end, end, self.step)

    def _latents(self, rows: slice) -> Tensor:
        coordinates = (self.base if self.shared else self.base[rows]) + self.offsets[rows]  # [B, L, D]
        return self.start[rows] + self.statistics.unwhiten(coordinates)

    def _image(self, ws: Tensor) -> Tensor:
        return F.avg_pool2d(as_rgb(self.render(ws).float()), self.factor)  # [B, 3, R, R]

    def _weighted(self, terms: dict[str, Tensor]) -> Tensor:
        config = self.config
        weights = {
            "pixel": config.pixel_weight,
            "landmark": config.landmark_weight,
            "identity": config.identity_weight,
        }
        return torch.stack([weights.get(name, 1.0) * value for name, value in terms.items()]).sum(0)  # [B]

    def _restore(self) -> None:
        if self.state is None:
            return
        with contextlib.suppress(ResumeError):  # damaged, or of a picture that was here before: begin anew
            saved = load_state(self.state, self.made_for)
            if saved is None:
                return
            with torch.no_grad():
                self.base.copy_(saved["base"])
                self.offsets.copy_(saved["offsets"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.first = {name: value.to(self.base.device) for name, value in saved["first"].items()}
            self.losses = [float(loss) for loss in saved["losses"]]

    def _save(self, path: Path) -> None:
        state = {
            "base": self.base.detach(),
            "offsets": self.offsets.detach(),
            "optimiser": self.optimiser.state_dict(),
            "first": self.first,
            "losses": self.losses,
        }
        save_state(path, state, self.made_for)


def _digest(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return found.hexdigest()


def _joined(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}
