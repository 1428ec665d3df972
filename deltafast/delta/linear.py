"""LINEAR: the baseline that adds a plain vector, the mean of a_j − a_i over identities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from deltafast.delta.config import NEGATIVE_MODES, recommended_slots
from deltafast.delta.editor import Editor, check_latents, ends_of
from deltafast.delta.slots import check_slots, check_w_space, map_slots
from deltafast.errors import InvalidInputError
from deltafast.sequence_latents import GeneratorId, SequenceLatents

__all__ = ["LinearEditor", "both_directions", "linear_editor"]


class LinearEditor:
    """w + α·v in some slots, with the interface of `Editor`.

    `direction`: float32 `[num_ws, w_dim]`, zero outside `slots`; it goes from the neutral face to the last frame.
    `negative` `[num_ws, w_dim]` is what |α| multiplies where α < 0; -direction unless given.
    """

    def __init__(
        self,
        attribute: str,
        values: Iterable[float],
        direction: Tensor,
        slots: Iterable[int],
        generator: GeneratorId,
        negative: Tensor | None = None,
    ) -> None:
        self.attribute = attribute
        self.values = tuple(values)
        self.slots = check_slots(slots, len(direction))
        self.generator = generator
        mask = torch.zeros(len(direction), 1, device=direction.device)
        mask[list(self.slots)] = 1
        self.direction = direction.float() * mask  # [num_ws, w_dim]
        self.negative = -self.direction if negative is None else negative.float() * mask  # [num_ws, w_dim]

    @classmethod
    def of(cls, editor: Editor) -> LinearEditor:
        """Return the baseline of an editor: its slots, identities, projections and extent, but plain mean vectors."""
        both = editor.linear_directions.new_zeros(editor.num_ws, 2, editor.w_dim)
        both[list(editor.slots)] = editor.linear_directions
        generator = editor.info.generator
        return cls(editor.attribute, editor.values, both[:, 0], editor.slots, generator, both[:, 1])

    @property
    def num_ws(self) -> int:
        """Number of W+ slots of the latents that it edits."""
        return int(self.direction.shape[0])

    @property
    def w_dim(self) -> int:
        """Number of components of a W code."""
        return int(self.direction.shape[1])

    def edit(
        self, ws: Tensor, alpha: float | Tensor, *, raw: bool = False, slots: Iterable[int] | None = None
    ) -> Tensor:
        """Return w + α·v, `[N, num_ws, w_dim]`; arguments as those of `Editor.edit` (`raw` changes nothing here)."""
        check_latents(ws, self.num_ws, self.w_dim)
        amount = torch.as_tensor(alpha, dtype=torch.float32, device=ws.device)
        if amount.ndim > 1 or (amount.ndim == 1 and len(amount) != len(ws)):
            raise InvalidInputError(f"alpha must be a number or [N] = [{len(ws)}], got {list(amount.shape)}")
        positive, negative = self.direction.to(ws.device), self.negative.to(ws.device)
        if slots is not None:
            mask = torch.zeros(self.num_ws, 1, device=ws.device)
            mask[list(check_slots(slots, self.num_ws))] = 1
            positive, negative = positive * mask, negative * mask
        amount = amount.reshape(-1, 1, 1)
        change = torch.where(amount < 0, -amount * negative, amount * positive)  # [N or 1, num_ws, w_dim]
        wide = torch.promote_types(ws.dtype, torch.float32)
        return (ws.to(wide) + change.to(wide)).to(ws.dtype)

    def offset(self, ws: Tensor) -> Tensor:
        """Return zeros `[N, num_ws, w_dim]`: a linear edit adds nothing at α = 0."""
        check_latents(ws, self.num_ws, self.w_dim)
        return torch.zeros_like(ws, dtype=torch.float32)

    def for_generator(self, generator: Any, *, same_w_space: bool = False) -> LinearEditor:
        """Return the baseline for a generator's slots; see `Editor.for_generator`."""
        other = GeneratorId.of(generator)
        check_w_space(self.attribute, self.generator, other, same_w_space)
        pairs = map_slots(self.slots, self.num_ws, self.generator.slots, generator.num_ws, other.slots)
        direction = self.direction.new_zeros(generator.num_ws, self.w_dim)
        negative = direction.clone()
        for target, source in pairs:
            direction[target] = self.direction[source]
            negative[target] = self.negative[source]
        device = generator.device
        slots = [target for target, _ in pairs]
        return LinearEditor(self.attribute, self.values, direction.to(device), slots, other, negative.to(device))


def linear_editor(
    latents: SequenceLatents, attribute: str, slots: Iterable[int] | None = None, *, negative: str = "symmetric"
) -> LinearEditor:
    """Return LINEAR of an attribute: the mean over identities of (α = 1 frame − neutral frame), in some slots.

    `slots` None takes the recommended ones. `negative` is what α < 0 means, as in `DeltaConfig`, here of plain vectors.
    Raises `InvalidInputError` for an attribute that is not there.
    """
    if negative not in NEGATIVE_MODES:
        raise InvalidInputError(f"negative must be one of {', '.join(NEGATIVE_MODES)}; got {negative!r}")
    stack = latents.stack(attribute)  # [K, n, num_ws, w_dim]
    neutral, end, opposite = ends_of(latents.attributes[attribute])
    direction = (stack[:, end] - stack[:, neutral]).mean(0)  # [num_ws, w_dim]
    backwards = None if opposite is None else (stack[:, opposite] - stack[:, neutral]).mean(0)  # [num_ws, w_dim]
    direction, backwards = both_directions(direction, backwards, negative)
    chosen = recommended_slots(attribute, latents.num_ws) if slots is None else slots
    return LinearEditor(attribute, latents.attributes[attribute], direction, chosen, latents.generator, backwards)


def both_directions(forwards: Tensor, backwards: Tensor | None, negative: str) -> tuple[Tensor, Tensor]:
    """Return what α = 1 and α = -1 mean, given the ways from the neutral face to the last and to the opposite frame.

    `backwards` is None where there is no opposite end; `negative` is a mode of `DeltaConfig`.
    """
    if backwards is None or negative == "scale":
        return forwards, -forwards
    if negative == "symmetric":
        half = (forwards - backwards) / 2
        return half, -half
    return forwards, backwards
