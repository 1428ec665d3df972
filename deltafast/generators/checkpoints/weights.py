"""Turning a checkpoint's tensors into plain fp32 ones, without trusting their claimed sizes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.untrusted.pickled_values import PickledArray

__all__ = ["Weights", "only_row"]

_LOADABLE = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class Weights:
    """The weights of one network, by the names that its format gives them, read one by one.

    `get` raises `CheckpointError` for a name that is missing, or for what is no plain tensor of floating point
    numbers held in full by its storage (an expanded tensor may claim any size).
    """

    def __init__(self, values: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
        self._values = values
        self._read: set[str] = set()
        self.path = path

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> Tensor:
        """Return a copy of a weight as contiguous fp32 on the CPU."""
        if name not in self._values:
            raise CheckpointError(self.path, f"the weight {name} is missing")
        value = self._values[name]
        self._read.add(name)
        if isinstance(value, PickledArray) and value.values is not None and value.values.dtype.kind == "f":
            plain = value.values.astype(value.values.dtype.newbyteorder("="), order="C")
            value = torch.from_numpy(plain)
        if isinstance(value, (int, float)) and not isinstance(value, bool):  # a numpy scalar
            value = torch.tensor(float(value), dtype=torch.float64)
        if not isinstance(value, Tensor):
            raise CheckpointError(self.path, f"{name} is a {type(value).__name__}, expected a tensor")
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(self.path, f"{name} is not a plain dense tensor in memory")
        if value.dtype not in _LOADABLE:
            raise CheckpointError(self.path, f"{name} is {value.dtype}, expected floating point")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise CheckpointError(self.path, f"{name} claims {list(value.shape)} values, more than the file holds")
        return value.detach().to(torch.float32).clone(memory_format=torch.contiguous_format)

    def unread(self) -> list[str]:
        """Return the names of the weights that were not asked for, sorted."""
        return sorted(set(self._values) - self._read)

    def shaped(self, name: str, *shape: int | None) -> Tensor:
        """Return a weight whose shape must be `shape` (None: any length); `CheckpointError` otherwise."""
        tensor = self.get(name)
        if len(tensor.shape) != len(shape) or any(
            expected is not None and found != expected for found, expected in zip(tensor.shape, shape, strict=True)
        ):
            expected_text = "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"
            raise CheckpointError(self.path, f"{name} has shape {list(tensor.shape)}, expected {expected_text}")
        return tensor


def only_row(rows: Tensor) -> Tensor | None:
    """Return the row that all rows of `[..., w_dim]` repeat, or None where they differ."""
    flat = rows.reshape(-1, rows.shape[-1])  # [R, w_dim]
    return flat[0].clone() if flat.shape[0] and bool((flat == flat[0]).all()) else None
