"""Directions that others have found in W or W+ (InterFaceGAN, GANSpace, SeFa, one's own), used as editors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deltafast.delta.linear import LinearEditor
from deltafast.errors import EditorError
from deltafast.sequence_latents import GeneratorId
from deltafast.untrusted.checks import reading
from deltafast.untrusted.tensor_file import read_tensor

__all__ = ["DIRECTION_SUFFIXES", "DirectionEditor", "load_direction"]

DIRECTION_SUFFIXES = (".npy", ".npz", ".pt", ".pth")
_NAMES = ("direction", "boundary", "latent_direction", "edit", "ws", "w")


class DirectionEditor:
    """w + α·v for a vector v that knows neither its generator nor its attribute's values.

    `direction`: floating point `[w_dim]` or `[1, w_dim]`, added in all slots (`layers` limits them), or
    `[num_ws, w_dim]`. α = 1 adds it as it is: InterFaceGAN's boundaries have length 1 and are used with α of about -3
    to 3. It fits every generator with this w_dim: that it was found in this one's W space is for its user to know.
    Raises `EditorError` for another shape, NaN, or zeros alone.
    """

    def __init__(self, attribute: str, direction: Tensor) -> None:
        vector = direction.detach().to("cpu", torch.float32)
        if vector.ndim == 3 and len(vector) == 1:
            vector = vector[0]
        if vector.ndim == 1:
            vector = vector[None]
        if vector.ndim != 2 or 0 in vector.shape:
            expected = "[w_dim], [1, w_dim] or [num_ws, w_dim]"
            raise EditorError(f"the direction {attribute!r} must be {expected}, got {list(direction.shape)}")
        if not bool(torch.isfinite(vector).all()) or not bool(vector.any()):
            raise EditorError(f"the direction {attribute!r} holds NaN, infinity, or nothing but zeros")
        self.attribute = attribute
        self.direction = vector  # [1 or num_ws, w_dim]

    @property
    def slots(self) -> tuple[int, ...]:
        """The W+ slots that it moves; empty where it moves all, however many there are."""
        return tuple(self.direction.any(1).nonzero()[:, 0].tolist()) if len(self.direction) > 1 else ()

    def edit(
        self, ws: Tensor, alpha: float | Tensor, *, raw: bool = False, slots: Iterable[int] | None = None
    ) -> Tensor:
        """Return w + α·v, `[N, num_ws, w_dim]`; arguments as those of `Editor.edit` (`raw` changes nothing here)."""
        return self._linear(ws.shape[-2], GeneratorId("unknown", "", "")).edit(ws, alpha, raw=raw, slots=slots)

    def offset(self, ws: Tensor) -> Tensor:
        """Return zeros `[N, num_ws, w_dim]`: a linear edit adds nothing at α = 0."""
        return torch.zeros_like(ws, dtype=torch.float32)

    def for_generator(self, generator: Any, *, same_w_space: bool = False) -> LinearEditor:
        """Return the editor for a generator's slots and device. Raises `EditorError` where they do not fit."""
        if generator.w_dim != self.direction.shape[1]:
            raise EditorError(
                f"the direction {self.attribute!r} has w_dim {self.direction.shape[1]}, {generator.name} has "
                f"{generator.w_dim}"
            )
        found = GeneratorId("unknown", str(generator.fingerprint), str(generator.w_space))
        return self._linear(generator.num_ws, found).for_generator(generator)

    def as_json(self) -> dict[str, Any]:
        """Return what tells this direction from others, as JSON values."""
        digest = hashlib.sha256(self.direction.numpy().tobytes()).hexdigest()
        return {"attribute": self.attribute, "direction": list(self.direction.shape), "sha256": digest}

    def _linear(self, num_ws: int, generator: GeneratorId) -> LinearEditor:
        one_for_all = len(self.direction) == 1
        vector = self.direction.expand(num_ws, -1) if one_for_all else self.direction
        slots = range(num_ws) if one_for_all else self.slots
        return LinearEditor(self.attribute, (0.0, 1.0), vector, slots, generator)


def load_direction(path: Path) -> DirectionEditor:
    """Read a direction's file (.npy, .npz, .pt); its attribute is the file's name.

    Of several tensors the one called direction, boundary, latent_direction, edit, ws or w is taken. Nothing in the file
    is executed. Raises `EditorError` that names the file.
    """
    with reading(lambda reason: EditorError(f"{path} cannot be read as a direction: {reason}")):
        return DirectionEditor(path.stem, read_tensor(path, _NAMES))
