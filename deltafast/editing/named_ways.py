"""Paths of edits as they are typed: editors, each with a way of its own where it has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deltafast.editing.named_editors import GivenEditor
from deltafast.errors import InvalidInputError
from deltafast.inputs import is_there

__all__ = ["NamedWays", "named_ways"]


@dataclass(frozen=True, eq=False)
class NamedWays:
    """`editors`; `word`: alpha, by or to; `keys` `[P, E]`: the amounts that are passed, one column an editor."""

    editors: list[GivenEditor]
    word: str
    keys: NDArray[np.float64]


def named_ways(texts: Sequence[str], given: Mapping[str, Sequence[float]]) -> NamedWays:
    """Read editors as they are typed: `yaw`, `yaw=by-20,20`, `smile=by0.1` (which stays there), `yaw=-1,1` (alpha).

    `given`: the way of those that have none of their own, under its word. Raises `InvalidInputError` where words are
    mixed, a way is missing or left over, or ways do not have as many amounts.
    """
    own = [_own_way(text) for text in texts]
    words = sorted({*given, *(word for _, word, way in own if way)})
    if len(words) > 1:
        raise InvalidInputError(f"alpha, by and to cannot be mixed in one path; {' and '.join(words)} are given")
    if not words:
        raise InvalidInputError("say which way to go: --by -20 --by 20, or NAME=by-20,20 (--to, --alpha likewise)")
    if given and all(way for _, _, way in own):
        raise InvalidInputError(f"--{words[0]} is for editors without a way of their own, and each of these has one")
    common = list(given.get(words[0], ()))
    ways = [way or common for _, _, way in own]
    longest = max(len(way) for way in ways)
    for (name, _, _), way in zip(own, ways, strict=True):
        if not way:
            raise InvalidInputError(f"{name} has no way to go: give it one, as in {name}={_typed(words[0])}-1,1")
        if len(way) not in (1, longest):
            raise InvalidInputError(f"{name} passes {len(way)} amounts, another editor {longest}: give as many, or one")
    keys = np.stack([np.broadcast_to(np.asarray(way, np.float64), longest) for way in ways], 1)
    return NamedWays([GivenEditor(name, None, "") for name, _, _ in own], words[0], keys)


def _own_way(text: str) -> tuple[str, str, list[float]]:
    name, equals, way = text.rpartition("=")
    if not equals or is_there(text):
        return text, "", []
    word = way[:2] if way[:2] in ("by", "to") else "alpha"
    try:
        amounts = [float(amount) for amount in way.removeprefix(_typed(word)).split(",")]
    except ValueError as error:
        raise InvalidInputError(f"an editor's own way is as in yaw=by-20,20 or yaw=-1,0,1; got {text!r}") from error
    return name, word, amounts


def _typed(word: str) -> str:
    return "" if word == "alpha" else word
