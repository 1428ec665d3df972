"""Who is rendered: shape, skin, clothes, background and the light's constants."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deltafast.errors import InvalidInputError

__all__ = ["Appearance", "Identity", "female", "male", "random_identity"]

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Appearance:
    """Colours in sRGB 0..1, amounts in 0..1."""

    tone: float = 0.25  # skin from very light 0 to very dark 1
    tint: RGB = (1.0, 1.0, 1.0)
    iris: RGB = (0.28, 0.15, 0.07)
    brow: RGB = (0.14, 0.09, 0.06)
    brow_height: float = 0.042  # decimetres, half thickness at the inner end
    brow_density: float = 0.8
    brow_lift: float = 0.0  # decimetres
    lips: RGB = (0.70, 0.38, 0.37)
    lip_amount: float = 0.6
    lashes: float = 0.4
    stubble: float = 0.0
    scalp: float = 0.0  # shade of shaved hair
    redness: float = 1.0
    shadows: float = 0.5  # under the eyes
    mottle: float = 0.1
    shirt: RGB = (0.3, 0.35, 0.45)
    collar: float = 0.7


@dataclass(frozen=True)
class Identity:
    """Everything about a head and its scene that stays the same along a sequence."""

    name: str
    gender: float = 0.5  # 0 female, 1 male
    age: float = 0.5  # 0.5 young adult, 1 old
    muscle: float = 0.5
    weight: float = 0.5
    origin: RGB = (1 / 3, 1 / 3, 1 / 3)  # shares of the African, Asian and Caucasian shapes
    local: tuple[tuple[str, float], ...] = ()
    resting: tuple[tuple[str, float], ...] = ()  # face units of the neutral face
    appearance: Appearance = field(default_factory=Appearance)
    background: RGB = (0.55, 0.55, 0.56)
    elevation: float = 25.0  # of the key light, degrees
    key: float = 1.25
    ambient: float = 0.4
    fill: float = 0.15
    warmth: float = 0.0

    def macro_weights(self) -> dict[str, float]:
        """Return the strength of every macro shape; gender, age, muscle and weight interpolate between them.

        Raises `InvalidInputError` when a parameter is outside its range.
        """
        ranges = {"gender": (0.0, 1.0), "age": (0.5, 1.0), "muscle": (0.0, 1.0), "weight": (0.0, 1.0)}
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise InvalidInputError(f"identity {self.name!r}: {name} is {getattr(self, name)}, not {low}..{high}")
        if min(self.origin) < 0 or sum(self.origin) <= 0:
            raise InvalidInputError(f"identity {self.name!r}: origin {self.origin} has no positive share")
        old = 2 * self.age - 1
        weights: dict[str, float] = {}
        for gender, g in (("male", self.gender), ("female", 1 - self.gender)):
            for age, a in (("young", 1 - old), ("old", old)):
                for muscle, m in zip(("minmuscle", "averagemuscle", "maxmuscle"), _tent(self.muscle), strict=True):
                    for weight, w in zip(("minweight", "averageweight", "maxweight"), _tent(self.weight), strict=True):
                        weights[f"{gender}-{age}-{muscle}-{weight}"] = g * a * m * w
                for origin, share in zip(("african", "asian", "caucasian"), self.origin, strict=True):
                    weights[f"{origin}-{gender}-{age}"] = g * a * share / sum(self.origin)
        return weights

    def parameters(self) -> dict[str, Any]:
        """Return all fields but the name as plain JSON values."""
        values = dataclasses.asdict(self)
        del values["name"]
        values["local"], values["resting"] = dict(self.local), dict(self.resting)
        return _plain(values)  # type: ignore[no-any-return]


def _tent(x: float) -> tuple[float, float, float]:
    return max(0.0, 1 - 2 * x), 1 - abs(2 * x - 1), max(0.0, 2 * x - 1)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (tuple, list)) else value


def female() -> Identity:
    """Return the paper's first head: a young woman."""
    look = Appearance(
        tone=0.20,
        iris=(0.33, 0.36, 0.22),
        brow=(0.16, 0.10, 0.07),
        brow_height=0.034,
        lips=(0.74, 0.36, 0.37),
        lip_amount=0.75,
        lashes=0.75,
        shirt=(0.42, 0.12, 0.16),
        redness=1.1,
    )
    return Identity(
        "female",
        gender=0.0,
        weight=0.45,
        origin=(0.05, 0.12, 0.83),
        local=(
            ("mouth/mouth-scale-horiz-incr", 0.1),
            ("eyes/l-eye-scale-incr", 0.2),
            ("eyes/r-eye-scale-incr", 0.2),
        ),
        appearance=look,
    )


def male() -> Identity:
    """Return the paper's second head: a man of about thirty."""
    look = Appearance(
        tone=0.30,
        iris=(0.28, 0.40, 0.52),
        brow_height=0.048,
        lips=(0.66, 0.40, 0.37),
        lip_amount=0.5,
        lashes=0.25,
        stubble=0.3,
        scalp=0.08,
        shirt=(0.18, 0.24, 0.34),
        collar=0.66,
    )
    local = (("eyes/l-eye-height2-incr", 0.3), ("eyes/r-eye-height2-incr", 0.3))
    return Identity("male", gender=1.0, age=0.55, origin=(0.1, 0.05, 0.85), local=local, appearance=look)


_IRIS: dict[str, RGB] = {
    "brown": (0.28, 0.15, 0.07),
    "hazel": (0.38, 0.28, 0.14),
    "green": (0.33, 0.38, 0.24),
    "blue": (0.30, 0.42, 0.55),
    "grey": (0.43, 0.47, 0.50),
}
_HAIR: dict[str, RGB] = {
    "black": (0.05, 0.045, 0.045),
    "brown": (0.16, 0.10, 0.07),
    "auburn": (0.28, 0.14, 0.08),
    "blond": (0.45, 0.34, 0.20),
    "grey": (0.42, 0.41, 0.40),
}
_BIAS = {"eyes/*-eye-scale": 0.2, "eyes/*-eye-height2": 0.2, "head/head-scale-vert": -0.1}
_KNOBS: tuple[tuple[str, str, str], ...] = (
    ("head/head-fat", "incr", "decr"),
    ("head/head-scale-depth", "incr", "decr"),
    ("head/head-scale-horiz", "incr", "decr"),
    ("head/head-scale-vert", "incr", "decr"),
    ("forehead/forehead-scale-vert", "incr", "decr"),
    ("forehead/forehead-temple", "incr", "decr"),
    ("forehead/forehead-trans", "forward", "backward"),
    ("eyebrows/eyebrows-angle", "up", "down"),
    ("eyebrows/eyebrows-trans", "up", "down"),
    ("eyes/*-eye-bag", "incr", "decr"),
    ("eyes/*-eye-corner1", "up", "down"),
    ("eyes/*-eye-corner2", "up", "down"),
    ("eyes/*-eye-eyefold", "up", "down"),
    ("eyes/*-eye-height2", "incr", "decr"),
    ("eyes/*-eye-scale", "incr", "decr"),
    ("eyes/*-eye-trans", "in", "out"),
    ("nose/nose-curve", "convex", "concave"),
    ("nose/nose-flaring", "incr", "decr"),
    ("nose/nose-hump", "incr", "decr"),
    ("nose/nose-point", "up", "down"),
    ("nose/nose-point-width", "incr", "decr"),
    ("nose/nose-scale-depth", "incr", "decr"),
    ("nose/nose-scale-horiz", "incr", "decr"),
    ("nose/nose-scale-vert", "incr", "decr"),
    ("nose/nose-volume", "incr", "decr"),
    ("nose/nose-width1", "incr", "decr"),
    ("mouth/mouth-cupidsbow", "incr", "decr"),
    ("mouth/mouth-lowerlip-volume", "incr", "decr"),
    ("mouth/mouth-scale-horiz", "incr", "decr"),
    ("mouth/mouth-trans", "up", "down"),
    ("mouth/mouth-upperlip-volume", "incr", "decr"),
    ("chin/chin-cleft", "incr", "decr"),
    ("chin/chin-height", "incr", "decr"),
    ("chin/chin-prominent", "incr", "decr"),
    ("chin/chin-width", "incr", "decr"),
    ("cheek/*-cheek-bones", "incr", "decr"),
    ("cheek/*-cheek-volume", "incr", "decr"),
    ("ears/*-ear-scale", "incr", "decr"),
    ("ears/*-ear-wing", "incr", "decr"),
    ("neck/neck-scale-horiz", "incr", "decr"),
)


def random_identity(seed: int | Sequence[int], name: str | None = None) -> Identity:
    """Draw a plausible adult from a seed; the same seed always gives the same person.

    Gender, age, build, origin, skin, eyes, lips, brows, local shape, clothes, background and the light's constants
    are drawn. Raises `InvalidInputError` for a negative seed.
    """
    parts = [seed] if isinstance(seed, int) else list(seed)
    if not parts or min(parts) < 0:
        raise InvalidInputError(f"a seed must be a non-negative integer, got {seed}")
    rng = np.random.default_rng(parts)

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def near(mean: float, spread: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(mean, spread), low, high))

    def jitter(colour: RGB, spread: float) -> RGB:
        common = rng.uniform(1 - spread, 1 + spread)
        r, g, b = (float(np.clip(c * common * rng.uniform(0.96, 1.04), 0, 1)) for c in colour)
        return r, g, b

    gender = near(float(rng.integers(0, 2)), 0.12, 0.0, 1.0)
    woman = gender < 0.5
    age = 0.5 + 0.35 * float(rng.beta(1.0, 2.5))
    african, asian, caucasian = (float(share) for share in rng.dirichlet((0.45, 0.5, 0.7)))
    tone = float(np.clip(african * 0.78 + asian * 0.28 + caucasian * 0.18 + rng.normal(0, 0.07), 0.08, 0.92))
    dark = tone > 0.45 or asian > 0.5
    hair = str(rng.choice(["black", "brown"]) if dark else rng.choice(["black", "brown", "auburn", "blond"]))
    iris = str(rng.choice(["brown", "hazel"], p=[0.85, 0.15]) if dark else rng.choice(list(_IRIS)))
    grey = float(rng.random()) * max(0.0, age - 0.62) / 0.25
    mixed = tuple(a * (1 - grey) + b * grey for a, b in zip(_HAIR[hair], _HAIR["grey"], strict=True))
    look = Appearance(
        tone=tone,
        tint=jitter((1.0, 1.0, 1.0), 0.03),
        iris=jitter(_IRIS[iris], 0.2),
        brow=jitter((mixed[0], mixed[1], mixed[2]), 0.15),
        brow_height=between(0.028, 0.040) if woman else between(0.038, 0.055),
        brow_density=between(0.6, 0.9),
        brow_lift=near(0.0, 0.012, -0.03, 0.03),
        lips=jitter((0.72, 0.37, 0.37) if woman else (0.66, 0.40, 0.37), 0.12),
        lip_amount=between(0.5, 0.9) if woman else between(0.35, 0.6),
        lashes=between(0.4, 0.85) if woman else between(0.1, 0.35),
        stubble=0.0 if woman else between(0.0, 0.4),
        scalp=between(0.0, 0.05) if woman else between(0.0, 0.2),
        redness=between(0.4, 1.6),
        shadows=between(0.1, 0.9),
        mottle=between(0.05, 0.16),
        shirt=(between(0.08, 0.85), between(0.08, 0.85), between(0.08, 0.85)),
        collar=between(0.62, 0.82),
    )
    local: dict[str, float] = {}
    for knob, up, down in _KNOBS:
        amount = near(_BIAS.get(knob, 0.0), 0.18, -0.5, 0.5)
        full = f"{knob}-{up if amount >= 0 else down}"
        for side in ("l", "r") if "*" in full else ("",):
            local[full.replace("*", side)] = abs(amount)
    lift, squint, frown = near(0.0, 0.12, -0.3, 0.3), near(0.0, 0.08, 0.0, 0.2), near(0.0, 0.10, 0.0, 0.25)
    resting = {"browInnerUp": max(lift, 0.0), "browDownLeft": max(-lift, 0.0), "browDownRight": max(-lift, 0.0)}
    resting |= {"eyeSquintLeft": squint, "eyeSquintRight": squint}
    resting |= {"mouthFrownLeft": 0.5 * frown, "mouthFrownRight": 0.5 * frown}
    shade = between(0.2, 0.85)
    return Identity(
        name if name is not None else f"seed-{'-'.join(str(part) for part in parts)}",
        gender=gender,
        age=age,
        muscle=near(0.5, 0.15, 0.0, 1.0),
        weight=near(0.5, 0.13, 0.0, 1.0),
        origin=(african, asian, caucasian),
        local=tuple(local.items()),
        resting=tuple(resting.items()),
        appearance=look,
        background=jitter((shade, shade, shade), 0.12),
        elevation=between(12.0, 40.0),
        key=between(1.05, 1.4),
        ambient=between(0.3, 0.5),
        fill=between(0.10, 0.22),
        warmth=near(0.0, 0.04, -0.08, 0.08),
    )
