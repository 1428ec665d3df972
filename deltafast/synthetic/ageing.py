"""The same person, older or younger, more a man or more a woman: shapes of the head, and what skin shows of it."""

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
_MOST = {"redness": 2.0, "brow_height": 0.06}  # 1 for all others


def as_person(identity: Identity, values: Mapping[str, float]) -> Identity:
    """Return `identity` as the attributes age and gender in `values` (-1..1 each) have it; the same one without them.

    age is the share of the way from the identity's own age to a young (-1) or an old (1) adult's, gender of the way
    to a woman (-1) or a man (1).
    """
    older = _moved(identity.age, values.get("age", 0.0), _YOUNG, _OLD)
    manlier = _moved(identity.gender, values.get("gender", 0.0), 0.0, 1.0)
    if (older, manlier) == (identity.age, identity.gender):
        return identity
    aged = (older - identity.age) / (_OLD - _YOUNG)  # -1..1
    look = _changed(_changed(identity.appearance, _WITH_AGE, aged), _WITH_GENDER, manlier - identity.gender)
    if aged > 0:
        red, green, blue = (own + aged * (grey - own) for own, grey in zip(look.brow, _GREY, strict=True))
        look = replace(look, brow=(red, green, blue))
    return replace(identity, age=older, gender=manlier, appearance=look)


def _moved(own: float, share: float, low: float, high: float) -> float:
    return own + share * (high - own if share > 0 else own - low)


def _changed(look: Appearance, differences: Mapping[str, float], share: float) -> Appearance:
    """Return `look` with `share` of the differences, within what a face can have."""
    values = {
        name: min(max(getattr(look, name) + share * difference, 0.0), _MOST.get(name, 1.0))
        for name, difference in differences.items()
    }
    return replace(look, **values)
