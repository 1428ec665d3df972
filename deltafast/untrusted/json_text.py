"""JSON out of a file: bounded in size and nesting, its numbers finite."""

from __future__ import annotations

import json
import math
from typing import Any

from deltafast.untrusted.checks import UnreadableError

__all__ = ["parse_json"]

_MAX_CHARACTERS = 1 << 25  # a report over 100,000 photos has a third of it
_MAX_DEPTH = 64


def parse_json(text: str) -> Any:
    """Parse JSON. Raises `UnreadableError` or `ValueError` for damage, NaN, infinity, and nesting beyond 64 levels."""
    if len(text) > _MAX_CHARACTERS:
        raise UnreadableError(f"JSON of {len(text)} characters, expected at most {_MAX_CHARACTERS}")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise UnreadableError(f"JSON nested beyond {_MAX_DEPTH} levels") from None
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        if not level:
            return value
        level = [item for container in level for item in _items(container)]
    raise UnreadableError(f"JSON nested beyond {_MAX_DEPTH} levels")


def _items(value: Any) -> list[Any]:
    """What a container holds that may hold more; checks numbers on the way."""
    if isinstance(value, dict):
        return [item for item in value.values() if not isinstance(item, str)]
    if isinstance(value, list):
        return [item for item in value if not isinstance(item, str)]
    if isinstance(value, float) and not math.isfinite(value):
        raise UnreadableError("JSON with a number that no float can hold")
    return []


def _refuse_constant(name: str) -> Any:
    raise UnreadableError(f"JSON with {name}, which is no number")
