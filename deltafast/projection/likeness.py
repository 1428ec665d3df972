"""How like its photo a projected face is wanted: the one choice of Python and the command line."""

from __future__ import annotations

from typing import Literal, TypeAlias

from deltafast.errors import InvalidInputError

__all__ = ["LIKENESSES", "Likeness", "check_likeness", "refinement_steps"]

Likeness: TypeAlias = Literal["quick", "refined", "tuned", "auto"]
LIKENESSES: tuple[Likeness, ...] = ("quick", "refined", "tuned")
_AUTO = "auto"  # what a single photo gets by default: tuned where its face mesh is seen, else quick
_STEPS = {"quick": 0, "refined": 50, "tuned": 50, _AUTO: 50}


def check_likeness(likeness: str | None, steps: int | None = None, *, auto: bool = False) -> None:
    """Raise `InvalidInputError` unless `likeness` is one of `LIKENESSES` or None, and goes with `steps`.

    With `auto` it may be "auto" too.
    """
    allowed = (*LIKENESSES, _AUTO) if auto else LIKENESSES
    if likeness is not None and likeness not in allowed:
        raise InvalidInputError(f"likeness must be one of {', '.join(allowed)}; got {likeness!r}")
    if likeness == "quick" and steps:
        raise InvalidInputError(f"a quick likeness has no refinement, but {steps} steps are asked for")
    if likeness == "refined" and steps == 0:
        raise InvalidInputError("a refined likeness has at least one step; without any it is quick")


def refinement_steps(likeness: str | None, steps: int | None) -> int:
    """Return how many steps of refinement are taken: `steps`, or where None as many as the likeness has."""
    if steps is not None:
        return steps
    return _STEPS[likeness] if likeness is not None else 0
