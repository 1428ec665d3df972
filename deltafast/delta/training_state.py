"""The state of an unfinished training: weights, optimiser moments and losses in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deltafast.errors import ResumeError
from deltafast.files import atomic_write

__all__ = ["TrainingState", "load_state", "save_state", "state_path"]

_KEY = "deltafast-training"


@dataclass
class TrainingState:
    """Everything that the next step depends on: tensors by name, and the losses of the steps that are done."""

    tensors: dict[str, Tensor]
    losses: list[float]

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor], optimiser: torch.optim.Adam, losses: list[float]) -> TrainingState:
        """Copy the state of a training."""
        tensors = {}
        for name, parameter in parameters.items():
            tensors[f"weight/{name}"] = parameter.detach().clone()
            for key in ("exp_avg", "exp_avg_sq"):
                tensors[f"{key}/{name}"] = optimiser.state[parameter][key].detach().clone()
        return cls(tensors, list(losses))

    def restore(self, parameters: Mapping[str, Tensor], optimiser: torch.optim.Adam) -> None:
        """Put the state into parameters and optimiser. Raises `ResumeError` when it is not of this training."""
        try:
            with torch.no_grad():
                for name, parameter in parameters.items():
                    parameter.copy_(self.tensors[f"weight/{name}"])
                    optimiser.state[parameter] = {
                        "step": torch.tensor(float(len(self.losses))),
                        "exp_avg": self.tensors[f"exp_avg/{name}"].reshape(parameter.shape).clone(),
                        "exp_avg_sq": self.tensors[f"exp_avg_sq/{name}"].reshape(parameter.shape).clone(),
                    }
        except (KeyError, RuntimeError) as error:
            raise ResumeError(f"the saved training state does not fit this network ({error}); use --restart") from error


def state_path(out: Path) -> Path:
    """Return where the state of a training for the editor file `out` is kept."""
    return out.with_name(f"{out.name}.state")


def save_state(path: Path, settings: dict[str, Any], state: TrainingState) -> None:
    """Write a training state, atomically. Raises `DiskError`."""
    from safetensors.torch import save_file

    tensors = {**state.tensors, "losses": torch.tensor(state.losses, dtype=torch.float64)}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: json.dumps(settings, sort_keys=True)})


def load_state(path: Path, settings: dict[str, Any]) -> TrainingState | None:
    """Read a training state, None where there is none. Raises `ResumeError` for other settings or a damaged file."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="pt") as stream:
            saved = json.loads((stream.metadata() or {}).get(_KEY, "null"))
            tensors = {name: stream.get_tensor(name) for name in list(stream.keys())}
        losses = tensors.pop("losses").tolist()
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ResumeError(f"{path} is damaged ({error}); pass --restart to train anew") from error
    if saved != settings:
        raise ResumeError(
            f"{path} is the state of a training with other settings or latents; choose another --out, or pass "
            "--restart to train anew"
        )
    return TrainingState(tensors, losses)
