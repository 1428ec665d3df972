"""One slider of the app: an editor, the unit in which it is said how far it goes, and the α that this is likely to be.

Amounts are changes (`by`) in the attribute's unit, of ratios factors; α where nothing reads the attribute off pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from deltafast.delta.amounts import UNITS, Unit
from deltafast.delta.editor import Editor, LatentEditor

__all__ = ["Dial", "dial_of", "measured_ends"]

Ends = tuple[tuple[float, float], tuple[float, float]]  # (by, α) at the low and at the high end
_ALPHAS = ((-3.0, -3.0), (3.0, 3.0))  # of directions and of attributes that nothing reads
_STEPS = 120  # of a slider, about


@dataclass(frozen=True)
class Dial:
    """`key` tells it from the others, `editor` is for the generator at hand; `unit` None means that amounts are α."""

    key: str
    editor: LatentEditor
    unit: Unit | None
    ends: Ends

    @property
    def label(self) -> str:
        """What people call it."""
        return self.key.replace("-", " ").replace("_", " ").capitalize()

    @property
    def unit_name(self) -> str:
        """The unit in words."""
        return "α" if self.unit is None else self.unit.name

    @property
    def is_ratio(self) -> bool:
        """Whether amounts multiply."""
        return self.unit is not None and self.unit.ratio

    @property
    def neutral(self) -> float:
        """The amount that changes nothing."""
        return 1.0 if self.is_ratio else 0.0

    @property
    def low(self) -> float:
        """The smallest amount that the slider offers, a whole number of steps from the neutral one."""
        return self._whole(min(self.neutral, self.ends[0][0]))

    @property
    def high(self) -> float:
        """The largest amount that the slider offers, a whole number of steps from the neutral one."""
        return self._whole(max(self.neutral, self.ends[1][0]))

    @property
    def step(self) -> float:
        """The slider's step, a round number."""
        return _round_step((max(self.neutral, self.ends[1][0]) - min(self.neutral, self.ends[0][0])) / _STEPS)

    def shown(self, value: float) -> float:
        """A value as the slider shows it: a multiple of its step."""
        return round(round(value / self.step) * self.step, 6)

    def is_neutral(self, by: float) -> bool:
        """Whether an amount is none, to what a slider can show."""
        return abs(by - self.neutral) < 0.5 * self.step

    def guess(self, by: float) -> float:
        """Return the α that changes a face by so much, as the faces did on which the ends were measured."""
        place = self._scaled(by)
        end, alpha = self.ends[0] if place < 0 else self.ends[1]
        reach = self._scaled(end)
        if place == 0 or reach * place <= 0:  # nothing, or a side on which the editor does not hold
            other, slope = self.ends[1] if place < 0 else self.ends[0]
            reach, alpha = self._scaled(other), slope
        return 0.0 if reach == 0 else place / reach * alpha

    def to(self, by: float, before: float) -> float:
        """Return the reading that an amount leads to from the reading `before`."""
        return before * by if self.is_ratio else before + by

    def by(self, to: float, before: float) -> float:
        """Return the amount that leads to the reading `to` from `before`; the neutral one where there is none."""
        if not self.is_ratio:
            return to - before
        return to / before if before > 0 and to > 0 else 1.0

    def _whole(self, by: float) -> float:
        """The amount next to `by` that is a whole number of steps from the neutral one."""
        return round(self.neutral + round((by - self.neutral) / self.step) * self.step, 6)

    def _scaled(self, by: float) -> float:
        return math.log(max(by, 1e-6)) if self.is_ratio else by


def dial_of(key: str, editor: LatentEditor, ends: Ends | None, *, unit_is_free: bool = True) -> Dial:
    """Return the dial of an editor for the generator at hand.

    `ends` are those that `measured_ends` gave, None where there are none. `unit_is_free` False makes it a dial of α,
    because another one reads the same attribute.
    """
    unit = UNITS.get(editor.attribute)
    if unit is None or ends is None or not unit_is_free or not isinstance(editor, Editor):
        reach = 1.5 if isinstance(editor, Editor) else _ALPHAS[1][0]
        return Dial(key, editor, None, ((-reach, -reach), (reach, reach)))
    return Dial(key, editor, unit, ends)


def measured_ends(info: Any) -> Ends | None:
    """Return how far an editor holds, as its training measured it (`EditorInfo.training["range"]`); None without."""
    found = info.training.get("range")
    try:
        (a, b), (alpha_a, alpha_b) = ((float(v) for v in found[name]) for name in ("by", "alpha"))
    except (TypeError, KeyError, ValueError):  # an old file, or another's
        return None
    values = (a, b, alpha_a, alpha_b)
    if not all(math.isfinite(v) and abs(v) < 1e3 for v in values) or a == b:
        return None
    ends = sorted(((a, alpha_a), (b, alpha_b)))
    return ends[0], ends[1]


def _round_step(step: float) -> float:
    """The round number (1, 2 or 5 times a power of ten) next below `step`."""
    power = 10.0 ** math.floor(math.log10(max(step, 1e-6)))
    return next(round(k * power, 10) for k in (5, 2, 1) if k * power <= step * 1.0000001)
