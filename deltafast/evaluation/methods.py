"""What is compared for one attribute: trained editors, LINEAR three ways, and directions that a user brings.

All have the same W+ slots. LINEAR: the mean of a_j - a_i over the editor's own identities and projections; over the
first two identities of projected sequences only, as the paper draws it; and the best single direction found by ridge
regression on sampled, measured latents. All baselines are brought to the length at which alpha = 1 changes the target
by the attribute's `CHANGE_AT_ONE` on calibration faces: by nothing of the editor's, so that another editor beside them
finds what was read of them before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltafast.delta.editor import Editor, LatentEditor, ends_of
from deltafast.delta.linear import LinearEditor, linear_editor
from deltafast.errors import EditorError, InvalidInputError
from deltafast.evaluation.changes import CHANGE_AT_ONE
from deltafast.evaluation.directions import calibrate, mean_change, place_direction, ridge_direction
from deltafast.evaluation.readings import FaceReader, Readings
from deltafast.faces.attributes import TARGET_MEASURES
from deltafast.generators.base import Generator
from deltafast.progress import track
from deltafast.sequence_latents import GeneratorId, SequenceLatents

__all__ = ["LINEAR", "OURS", "Method", "MethodBuilder", "UserDirection", "best_linear"]

OURS = "ours"  # name of the first trained editor of an attribute
LINEAR, LINEAR_PAIR, LINEAR_RIDGE = "linear", "linear-two-heads", "linear-ridge"
_LABELS = {LINEAR: "LINEAR, mean", LINEAR_PAIR: "LINEAR, two heads", LINEAR_RIDGE: "LINEAR, ridge"}
_FIRST_LENGTH = 4.0  # of a direction that somebody brings, in W+, from which calibration starts


@dataclass(frozen=True)
class UserDirection:
    """A direction of another method: attribute, name, and the tensor `[w_dim]`, `[1, w_dim]` or `[num_ws, w_dim]`."""

    attribute: str
    name: str
    direction: Tensor


@dataclass(frozen=True)
class Method:
    """One way to edit an attribute, for the generator at hand.

    `label`: as tables show it; `change_at_one`: of the target measure at |alpha| = 1 on calibration faces; `scale`:
    what its own length was multiplied with; `value_range`: the attribute's values that the unscaled alpha = 0 and 1
    stand for, None for directions that promise none; `notes`: JSON values.
    """

    name: str
    label: str
    editor: LatentEditor
    change_at_one: float
    scale: float = 1.0
    value_range: tuple[float, float] | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def trained(self) -> bool:
        """Whether it is an editor (E and D), not a plain direction."""
        return isinstance(self.editor, Editor)

    def as_json(self) -> dict[str, Any]:
        """Return what it is, as JSON values."""
        change = self.change_at_one if np.isfinite(self.change_at_one) else None
        facts = {"label": self.label, "change_at_one": change, "scale": self.scale, "slots": list(self.editor.slots)}
        return {**facts, **self.notes}


def best_linear(costs: Mapping[str, float]) -> str | None:
    """Return the name of the LINEAR method with the smallest cost; None where there is none."""
    known = {name: cost for name, cost in costs.items() if name.startswith(LINEAR) and cost == cost}
    return min(known, key=lambda name: known[name]) if known else None


class MethodBuilder:
    """Builds the methods of each attribute over one generator.

    `calibration` `[N, num_ws, w_dim]`: faces on which lengths are set; `samples` `[M, w_dim]` with their `readings`:
    what the ridge is fitted to; `sequences`: projected heads, of which the first two give LINEAR of two heads;
    `change_at_one`: what baselines are scaled to change at alpha = 1.
    """

    def __init__(
        self,
        generator: Generator,
        reader: FaceReader,
        calibration: Tensor,
        samples: Tensor,
        readings: Readings,
        sequences: SequenceLatents | None,
        user: Sequence[UserDirection] = (),
        change_at_one: Mapping[str, float] = CHANGE_AT_ONE,
    ) -> None:
        self._generator = generator
        self._reader = reader
        self._calibration = calibration
        self._samples = samples
        self._readings = readings
        self._sequences = sequences
        self._user = list(user)
        self._change_at_one = dict(change_at_one)

    def of_editors(self, editors: Sequence[tuple[str, Editor]]) -> list[Method]:
        """Return the methods of an attribute: its editors by name, the first of them being the reference.

        Raises `EditorError` when an editor does not fit the generator.
        """
        first = editors[0][1]
        methods = []
        for k, (name, editor) in enumerate(editors):
            label = "E and D" if len(editors) == 1 else f"E and D ({name})"
            own = editor.for_generator(self._generator)
            change = mean_change(self._reader, own, self._calibration, f"{name}: calibration") / 2
            notes = {"training": editor.info.training, "file": name}
            methods.append(
                Method(OURS if k == 0 else f"editor-{name}", label, own, change, 1.0, editor.info.value_range, notes)
            )
        linear = LinearEditor.of(first).for_generator(self._generator)
        return methods + self._baselines(linear, first.info.value_range)

    def of_linear(self, attribute: str, slots: Sequence[int] | None = None) -> list[Method]:
        """Return LINEAR and the other plain directions alone, of an attribute of the sequences, α = 1 its last frame.

        Raises `InvalidInputError` where there are no sequences of it.
        """
        if self._sequences is None:
            raise InvalidInputError(f"LINEAR alone is taken from projected sequences; give those of {attribute!r}")
        linear = linear_editor(self._sequences, attribute, slots).for_generator(self._generator)
        change = mean_change(self._reader, linear, self._calibration, f"{attribute}: calibration") / 2
        alone = Method(LINEAR, _LABELS[LINEAR], linear, change, 1.0, _value_range(linear))
        return [alone, *(m for m in self._baselines(linear, _value_range(linear)) if m.name != LINEAR)]

    def _baselines(self, linear: LinearEditor, value_range: tuple[float, float]) -> list[Method]:
        """Return LINEAR's three forms and the user's directions, each calibrated to the attribute's `CHANGE_AT_ONE`."""
        attribute = linear.attribute
        wanted = self._change_at_one[attribute]
        given: list[tuple[str, str, LinearEditor, tuple[float, float] | None, dict[str, Any]]] = [
            (LINEAR, _LABELS[LINEAR], linear, value_range, {})
        ]
        pair = self._pair(linear)
        if pair is not None:
            two = self._sequences.identities[:2] if self._sequences is not None else []
            given.append((LINEAR_PAIR, _LABELS[LINEAR_PAIR], pair, _value_range(pair), {"identities": two}))
        ridge = self._ridge(linear)
        if ridge is not None:
            given.append((LINEAR_RIDGE, _LABELS[LINEAR_RIDGE], ridge[0], None, ridge[1]))
        for one in self._user:
            if one.attribute == attribute:
                direction, slots = place_direction(one.direction, linear.slots, linear.num_ws, linear.w_dim)
                size = _FIRST_LENGTH / max(float(direction[list(slots)].norm()), 1e-12)
                editor = self._like(linear, direction * size, slots)
                given.append((f"user-{one.name}", one.name, editor, None, {"brought": one.name}))
        methods = []
        for name, label, editor, own_range, notes in track(given, f"{attribute}: lengths of the baselines"):
            scaled, factor = calibrate(self._reader, editor, 2 * wanted, self._calibration)
            methods.append(Method(name, label, scaled, wanted, factor, own_range, notes))
        return methods

    def _pair(self, linear: LinearEditor) -> LinearEditor | None:
        """Return LINEAR of the sequences' first two identities; None where they have no such attribute or W space."""
        sequences = self._sequences
        if sequences is None or linear.attribute not in sequences.attributes or len(sequences.identities) < 2:
            return None
        two = sequences.select(sequences.identities[:2])
        try:
            own = linear_editor(two, linear.attribute, range(two.num_ws)).for_generator(self._generator)
        except EditorError:
            return None
        return LinearEditor(linear.attribute, own.values, own.direction, linear.slots, linear.generator, own.negative)

    def _ridge(self, linear: LinearEditor) -> tuple[LinearEditor, dict[str, Any]] | None:
        """Return the best single direction for the target measure; None without samples."""
        name, sign = TARGET_MEASURES[linear.attribute]
        values = sign * self._readings.measures[name]  # [M]
        if np.isfinite(values).sum() < 4:
            return None
        fit = ridge_direction(self._samples.cpu().double().numpy(), values)
        direction = torch.from_numpy(fit.direction * self._change_at_one[linear.attribute]).float()
        placed, slots = place_direction(direction, linear.slots, linear.num_ws, linear.w_dim)
        return self._like(linear, placed, slots), {"r2_left_out": fit.r2, "ridge": fit.strength, "samples": fit.n}

    def _like(self, linear: LinearEditor, direction: Tensor, slots: Sequence[int]) -> LinearEditor:
        """Return a linear editor of `linear`'s attribute with another direction `[num_ws, w_dim]`."""
        direction = direction.to(linear.direction.device)
        return LinearEditor(linear.attribute, linear.values, direction, slots, GeneratorId.of(self._generator))


def _value_range(linear: LinearEditor) -> tuple[float, float]:
    neutral, end, _ = ends_of(linear.values)
    return linear.values[neutral], linear.values[end]
