"""The state of an unfinished training: weights, optimiser moments and losses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from deltafast.errors import ResumeError
from deltafast.runs import load_state, save_state

__all__ = ["Stage", "TrainingState", "load_training", "save_training", "state_path"]

_MOMENTS = ("exp_avg", "exp_avg_sq")


class Stage(Protocol):
    """What both stages of a training have: `TrainingStep` and `PreciseStep`."""

    weights: Tensor
    step: Tensor
    losses: Tensor
    optimiser: torch.optim.Adam

    def advance(self) -> None:
        """Make one step."""


@dataclass
class TrainingState:
    """Everything that the next step depends on: weights and Adam's moments, flat, and the losses of the steps done.

    `stage` says of which stage (0: the paper's loss, 1: loss="precise"); of earlier ones the losses are kept too.
    """

    tensors: dict[str, Tensor]
    stage: int = 0

    @property
    def earlier_losses(self) -> Tensor:
        """The losses of the stages before this one, float32 `[steps]`."""
        return self.tensors.get("earlier_losses", torch.empty(0))

    @classmethod
    def of(cls, training: Stage, stage: int = 0, earlier_losses: Tensor | None = None) -> TrainingState:
        """Copy the state of a training."""
        moments = training.optimiser.state[training.weights]
        named = {"weights": training.weights, **{name: moments[name] for name in _MOMENTS}}
        named["losses"] = training.losses[: int(training.step)]
        if earlier_losses is not None:
            named["earlier_losses"] = earlier_losses
        return cls({name: t.detach().cpu().clone() for name, t in named.items()}, stage)

    def restore(self, training: Stage) -> None:
        """Put the state into a training that has not begun. Raises `ResumeError` when it is not of this one."""
        weights, losses = training.weights, self.tensors.get("losses")
        shapes = {name: tuple(t.shape) for name, t in self.tensors.items() if "losses" not in name}
        if losses is None or shapes != dict.fromkeys(("weights", *_MOMENTS), tuple(weights.shape)):
            raise ResumeError("the saved training state does not fit this network; use --restart")
        done = len(losses)
        with torch.no_grad():
            weights.copy_(self.tensors["weights"])
            training.losses[:done] = losses.to(training.losses)
            training.step.fill_(done)
        moments = {name: self.tensors[name].to(weights.device, copy=True) for name in _MOMENTS}
        training.optimiser.state[weights] = {"step": torch.tensor(float(done), device=weights.device), **moments}


def state_path(out: Path) -> Path:
    """Return where the state of a training for the editor file `out` is kept."""
    return out.with_name(f"{out.name}.state")


def save_training(path: Path, settings: dict[str, Any], state: TrainingState) -> None:
    """Write a training state, atomically. Raises `DiskError`."""
    save_state(path, {"tensors": state.tensors, "stage": state.stage}, settings)


def load_training(path: Path, settings: dict[str, Any]) -> TrainingState | None:
    """Read a training state, None where there is none. Raises `ResumeError` for other settings or a damaged file."""
    advice = "choose another --out, or pass --restart to train anew"
    saved = load_state(path, settings, advice=advice)
    if saved is None:
        return None
    tensors, stage = saved.get("tensors"), saved.get("stage")
    if (
        not isinstance(tensors, dict)
        or stage not in (0, 1)
        or (stage and not {"weights", "earlier_losses"} <= {*tensors})
    ):
        raise ResumeError(f"{path} is damaged (of stage {stage}); {advice}")
    return TrainingState(tensors, stage)
