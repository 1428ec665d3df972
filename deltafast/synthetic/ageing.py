"""The same person, older or younger, more a man or more a woman, leaner or heavier: the head's shape, and its skin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from deltafast.synthetic.identity import RGB, Appearance, Identity

__all__ = ["as_person"]

_YOUNG, _OLD = 0.5, 1.0  # of `Identity.age`
_GREY: RGB = (0.62, 0.61, 0.59)  # of an old person's brows
# by how much `Appearance` differs between a young and an old face, and between a woman's and a man's
_WITH_AGE: Mapping[str, float] = {"mottle": 0.14, "shadows": 0.5, "lip_amount": -0.35, "redness": 0.3, "lashes": -0.2}
_WITH_GENDER: Mapping[str, float] = {"lashes": -0.45, "lip_amount": -0.3, "brow_height": 0.014, "stubble": 0.35}
_HEAVY: Mapping[str, float] = {  # local shape: its strength in a very heavy person, on top of the identity's own
    "head/head-fat-incr": 1.0,
    "cheek/l-cheek-volume-incr": 0.8,
    "cheek/r-cheek-volume-incr": 0.8,
    "neck/neck-double-incr": 0.8,
    "neck/neck-scale-horiz-incr": 0.4,
}
_LEAN: Mapping[str, float] = {
    "head/head-fat-decr": 1.0,
    "cheek/l-cheek-volume-decr": 0.8,
    "cheek/r-cheek-volume-decr": 0.8,
    "neck/neck-double-decr": 0.5,
    "neck/neck-scale-horiz-decr": 0.4,
}
_MOST = {"redness": 2.0, "brow_height": 0.06}  # 1 for all others


def as_person(identity: Identity, values: Mapping[str, float]) -> Identity:
    """Return `identity` as age, gender and weight in `values` (-1..1 each) have it; the same one without them.

    age is the share of the way from the identity's own age to a young (-1) or an old (1) adult's, gender of the way
    to a woman (-1) or a man (1), weight of the way to a very lean (-1) or a very heavy (1) person.
    """
    older = _moved(identity.age, values.get("age", 0.0), _YOUNG, _OLD)
    manlier = _moved(identity.gender, values.get("gender", 0.0), 0.0, 1.0)
    weight = values.get("weight", 0.0)
    heavier = _moved(identity.weight, weight, 0.0, 1.0)
    if (older, manlier) == (identity.age, identity.gender) and not weight:
        return identity
    aged = (older - identity.age) / (_OLD - _YOUNG)  # -1..1
    look = _changed(_changed(identity.appearance, _WITH_AGE, aged), _WITH_GENDER, manlier - identity.gender)
    if aged > 0:
        red, green, blue = (own + aged * (grey - own) for own, grey in zip(look.brow, _GREY, strict=True))
        look = replace(look, brow=(red, green, blue))
    local = _with_shapes(identity.local, weight)
    return replace(identity, age=older, gender=manlier, weight=heavier, local=local, appearance=look)


def _moved(own: float, share: float, low: float, high: float) -> float:
    return own + share * (high - own if share > 0 else own - low)


def _with_shapes(local: tuple[tuple[str, float], ...], weight: float) -> tuple[tuple[str, float], ...]:
    """Return local shapes with those of a heavier (> 0) or leaner person added."""
    shapes = dict(local)
    for name, strength in (_HEAVY if weight > 0 else _LEAN).items():
        shapes[name] = shapes.get(name, 0.0) + abs(weight) * strength
    return tuple(shapes.items()) if weight else local


def _changed(look: Appearance, differences: Mapping[str, float], share: float) -> Appearance:
    """Return `look` with `share` of the differences, within what a face can have."""
    values = {
        name: min(max(getattr(look, name) + share * difference, 0.0), _MOST.get(name, 1.0))
        for name, difference in differences.items()
    }
    return replace(look, **values)
