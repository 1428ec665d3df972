"""The attributes: their default frame values, and what a value means for the face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deltafast.errors import InvalidInputError

__all__ = ["ATTRIBUTES", "Attribute", "attribute_named", "expression_units"]


@dataclass(frozen=True)
class Attribute:
    """A thing that varies along a sequence: its unit, its default ends and the limits that still render well."""

    name: str
    unit: str
    start: float
    end: float
    low: float
    high: float

    def values(self, frames: int) -> list[float]:
        """Return evenly spaced values for `frames` images, an odd number of at least 3.

        Raises `InvalidInputError` otherwise.
        """
        if frames < 3 or frames % 2 == 0:
            raise InvalidInputError(f"a sequence needs an odd number of frames, at least 3, got {frames}")
        step = (self.end - self.start) / (frames - 1)
        return [round(self.start + k * step, 6) for k in range(frames)]

    def neutral_index(self, frames: int) -> int:
        """Return which frame shows the neutral face: the middle one, or the first where values start at 0."""
        return 0 if self.start == 0 else frames // 2


_ALL = (
    Attribute("yaw", "degree", -35.0, 35.0, -60.0, 60.0),
    Attribute("pitch", "degree", -20.0, 20.0, -35.0, 35.0),
    Attribute("smile", "fraction", 0.0, 1.0, 0.0, 1.0),
    Attribute("eyes-closed", "fraction", 0.0, 1.0, 0.0, 1.0),
    Attribute("light", "degree", -75.0, 75.0, -110.0, 110.0),
    Attribute("mouth-open", "fraction", 0.0, 1.0, 0.0, 1.0),
    Attribute("brows-raised", "fraction", -1.0, 1.0, -1.0, 1.0),
    Attribute("light-elevation", "degree", -45.0, 45.0, -60.0, 50.0),
    Attribute("gaze", "degree", -25.0, 25.0, -30.0, 30.0),
    Attribute("age", "fraction", -1.0, 1.0, -1.0, 1.0),
    Attribute("gender", "fraction", -1.0, 1.0, -1.0, 1.0),
    Attribute("weight", "fraction", -1.0, 1.0, -1.0, 1.0),
)

ATTRIBUTES: tuple[str, ...] = tuple(attribute.name for attribute in _ALL)
"""Names of the attributes, in the order in which they are rendered."""


def attribute_named(name: str) -> Attribute:
    """Return an attribute by its name. Raises `InvalidInputError` for another name."""
    for attribute in _ALL:
        if attribute.name == name:
            return attribute
    raise InvalidInputError(f"no attribute {name!r}; there are {', '.join(ATTRIBUTES)}")


_SMILE: Mapping[str, tuple[float, float]] = {  # face unit of each side: strength at 1, power of the amount
    "mouthSmile": (0.85, 1.0),
    "cheekSquint": (0.6, 1.0),
    "eyeSquint": (0.25, 1.0),
    "mouthUpperUp": (0.9, 1.4),
    "mouthLowerDown": (0.25, 1.6),
    "mouthStretch": (0.15, 1.0),
}
_SMILE_JAW = (0.09, 1.6)


_MOUTH_OPEN: Mapping[str, float] = {  # face unit: strength at 1
    "jawOpen": 0.55,
    "mouthUpperUpLeft": 0.6,
    "mouthUpperUpRight": 0.6,
    "mouthInside": 1.0,
}


_BROWS_UP = 0.4  # of the way down: the heads' brows at rest stand as high above the eyes as the highest of real faces


def expression_units(values: Mapping[str, float]) -> dict[str, float]:
    """Return the face units of the attributes smile, mouth-open and brows-raised in `values`, added up."""
    opening, raised = values.get("mouth-open", 0.0), values.get("brows-raised", 0.0)
    units = _smile_units(values.get("smile", 0.0)) | {"browRaise": raised * (_BROWS_UP if raised > 0 else 1.0)}
    for name, strength in _MOUTH_OPEN.items():
        units[name] = units.get(name, 0.0) + strength * opening
    return units


def _smile_units(amount: float) -> dict[str, float]:
    """Return the face units of a smile: lips closed when small, the upper teeth shown at `amount` 1; zero at 0."""
    strength = {name: top * amount**power for name, (top, power) in _SMILE.items()}
    units = {f"{name}{side}": value for name, value in strength.items() for side in ("Left", "Right")}
    return units | {"jawOpen": _SMILE_JAW[0] * amount ** _SMILE_JAW[1]}
