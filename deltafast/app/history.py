"""Undo: the states that a visit has been in."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["History"]

T = TypeVar("T")
_MOST = 100


class History(Generic[T]):
    """The states so far, the present one last; at most a hundred are kept."""

    def __init__(self, first: T) -> None:
        self._states = [first]

    def __len__(self) -> int:
        return len(self._states)

    @property
    def present(self) -> T:
        """The state that was put last."""
        return self._states[-1]

    def put(self, state: T) -> None:
        """Make `state` the present one, unless it is already."""
        if state != self._states[-1]:
            self._states = [*self._states[-_MOST + 1 :], state]

    def undo(self) -> T:
        """Go back by one state and return it; the first one stays."""
        if len(self._states) > 1:
            self._states.pop()
        return self._states[-1]

    def restart(self, state: T) -> None:
        """Forget everything and begin with `state`."""
        self._states = [state]
