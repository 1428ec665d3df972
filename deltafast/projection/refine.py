"""Refinement of projected latents in W+, starting at the encoder's answer and staying near it.

A group of frames of one identity is refined together: what is wrong with all of them is mended once, in a shared
base, and only what is left goes into the frames' own offsets, which are held more tightly. So the differences
between frames, from which the edits are learned, keep the meaning that the encoder gave them.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.errors import InvalidInputError, ResumeError
from deltafast.files import atomic_write
from deltafast.generators.base import Generator
from deltafast.projection.perceptual import FaceDistance

__all__ = ["RefineConfig", "RefineResult", "refine"]

_CHECKPOINT_EVERY = 5


@dataclass(frozen=True)
class RefineConfig:
    """Settings of the refinement; lengths in W+ are in units of the latents' standard deviation `scale`."""

    steps: int = 30
    lr: float = 0.08
    pixel_weight: float = 0.5
    base_weight: float = 0.0005
    offset_weight: float = 0.002


@dataclass
class RefineResult:
    """Refined latents `ws` `[N, num_ws, w_dim]` and, per frame, the distances at the start and at the end."""

    ws: Tensor
    perceptual_start: Tensor  # [N]
    perceptual_end: Tensor  # [N]
    pixel_start: Tensor  # [N]
    pixel_end: Tensor  # [N]


def refine(
    generator: Generator,
    distance: FaceDistance,
    targets: Tensor,
    start: Tensor,
    config: RefineConfig,
    *,
    scale: float,
    shared_base: bool,
    batch_size: int = 1,
    synthesise: Callable[[Tensor], Tensor] | None = None,
    state: Path | None = None,
    on_step: Callable[[int], None] | None = None,
) -> RefineResult:
    """Refine `start` so that the generator's images come closer to `targets`.

    targets: `[N, 3, R, R]` in [-1, 1], R a divisor of the generator's resolution; start: `[N, num_ws, w_dim]`.
    With `shared_base` all N frames are one identity and share a base; without, every frame is on its own.
    `synthesise` replaces `generator.synthesis` (a compiled form of it, say). With `state`, a file that holds the
    optimiser's state every few steps, an interrupted call goes on where it was and ends with the same result.
    Raises `InvalidInputError` for wrong shapes or NaN.
    """
    if start.ndim != 3 or tuple(start.shape[1:]) != (generator.num_ws, generator.w_dim):
        raise InvalidInputError(f"start must be [N, {generator.num_ws}, {generator.w_dim}], got {tuple(start.shape)}")
    if targets.ndim != 4 or len(targets) != len(start) or generator.img_resolution % targets.shape[-1]:
        raise InvalidInputError(
            f"targets must be [{len(start)}, 3, R, R] with R dividing {generator.img_resolution}, "
            f"got {tuple(targets.shape)}"
        )
    if not (bool(torch.isfinite(start).all()) and bool(torch.isfinite(targets).all())):
        raise InvalidInputError("start and targets must be finite")
    render: Callable[[Tensor], Tensor] = synthesise or generator.synthesis
    factor = generator.img_resolution // targets.shape[-1]
    base = torch.zeros_like(start[:1] if shared_base else start).requires_grad_(True)  # [1 or N, L, D]
    offsets = torch.zeros_like(start).requires_grad_(shared_base)  # [N, L, D]
    optimiser = torch.optim.Adam([base, offsets] if shared_base else [base], config.lr, betas=(0.9, 0.95))
    with torch.no_grad():
        described = [distance.describe(targets[i : i + batch_size]) for i in range(0, len(targets), batch_size)]
    first, history = _restore(state, base, offsets, optimiser)
    for step in range(first, config.steps + 1):  # the last round only measures
        last = step == config.steps
        ramp = min(1.0, (step + 1) / 5) * 0.5 * (1 + math.cos(math.pi * step / config.steps))
        for group in optimiser.param_groups:
            group["lr"] = config.lr * ramp * scale
        optimiser.zero_grad()
        measured = []
        for number, index in enumerate(range(0, len(start), batch_size)):
            rows = slice(index, index + batch_size)
            with torch.set_grad_enabled(not last):
                ws = start[rows] + (base if shared_base else base[rows]) + offsets[rows]  # [B, L, D]
                image = F.avg_pool2d(render(ws).float(), factor)  # [B, 3, R, R]
                perceptual, pixel = distance(image, described[number])  # [B], [B]
                if not last:
                    loss = (perceptual + config.pixel_weight * pixel).sum() / len(start)
                    loss.backward()
            measured.append(torch.stack([perceptual.detach(), pixel.detach()]))
        if not last:
            # mean square over W+, times slots: the pull does not depend on how many slots there are
            pull = config.base_weight * base.square().mean((1, 2)).mean() * 100 / scale**2
            if shared_base:
                pull = pull + config.offset_weight * offsets.square().mean((1, 2)).mean() * 100 / scale**2
            pull.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        if step in (0, config.steps):
            history.append(torch.cat(measured, 1))
        if on_step is not None:
            on_step(step)
        if state is not None and not last and (step + 1) % _CHECKPOINT_EVERY == 0:
            _save_state(state, step + 1, base, offsets, optimiser, history)
    with torch.no_grad():
        refined = (start + base + offsets).detach()
    begin, end = history[0], history[-1]
    return RefineResult(refined, begin[0], end[0], begin[1], end[1])


def _restore(
    state: Path | None, base: Tensor, offsets: Tensor, optimiser: torch.optim.Optimizer
) -> tuple[int, list[Tensor]]:
    if state is None or not state.exists():
        return 0, []
    try:
        saved = torch.load(state, weights_only=True, map_location=base.device)
        with torch.no_grad():
            base.copy_(saved["base"])
            offsets.copy_(saved["offsets"])
        optimiser.load_state_dict(saved["optimiser"])
    except (RuntimeError, LookupError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise ResumeError(f"{state} is damaged or of another run ({error}); delete it to begin anew") from error
    return int(saved["step"]), list(saved["history"])


def _save_state(
    state: Path, step: int, base: Tensor, offsets: Tensor, optimiser: torch.optim.Optimizer, history: list[Tensor]
) -> None:
    with atomic_write(state) as temporary:
        torch.save(
            {
                "step": step,
                "base": base.detach(),
                "offsets": offsets.detach(),
                "optimiser": optimiser.state_dict(),
                "history": history,
            },
            temporary,
        )
