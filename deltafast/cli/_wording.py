"""How the commands count in words."""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: int, noun: str, verb: str = "") -> str:
    """Return "1 face edited" or "2 faces edited" for a `noun` in the singular and what was done to it."""
    words = f"{count} {noun}" if count == 1 else f"{count} {noun}s"
    return f"{words} {verb}" if verb else words
