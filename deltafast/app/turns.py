"""Who computes next: one at a time, people who wait before work in the background, and of each only the newest."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["BACKGROUND", "URGENT", "Newest", "SupersededError", "Ticket", "Turns"]

URGENT, BACKGROUND = 0, 1


class SupersededError(Exception):
    """A newer request of the same visit has made this one needless."""


class Turns:
    """Lets one thread compute at a time; those who wait are served by urgency, then in the order they came."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int]] = []  # a heap
        self._busy = False

    @contextmanager
    def turn(self, urgency: int = URGENT) -> Iterator[None]:
        """Wait for a turn and hold it for the length of the block."""
        self._enter(urgency)
        try:
            yield
        finally:
            self._leave()

    def give_way(self, urgency: int = BACKGROUND) -> None:
        """Within a turn: let those pass that wait and are more urgent, or came earlier."""
        self._leave()
        self._enter(urgency)

    def waiting(self, urgency: int = URGENT) -> int:
        """Return how many of this urgency wait for a turn."""
        with self._condition:
            return sum(1 for one, _ in self._waiting if one == urgency)

    def ahead(self, urgency: int = URGENT) -> int:
        """Return how many are served before one who comes now: those who wait, and whoever computes."""
        with self._condition:
            return sum(1 for one, _ in self._waiting if one <= urgency) + self._busy

    def _enter(self, urgency: int) -> None:
        with self._condition:
            mine = (urgency, next(self._numbers))
            heapq.heappush(self._waiting, mine)
            self._condition.wait_for(lambda: not self._busy and self._waiting[0] == mine)
            heapq.heappop(self._waiting)
            self._busy = True

    def _leave(self) -> None:
        with self._condition:
            self._busy = False
            self._condition.notify_all()


class Ticket:
    """One request of a visit: whether a newer one has come since."""

    def __init__(self) -> None:
        self._passed = threading.Event()

    @property
    def stale(self) -> bool:
        """Whether there is a newer request."""
        return self._passed.is_set()

    def check(self) -> None:
        """Raise `SupersededError` where there is a newer request."""
        if self.stale:
            raise SupersededError

    def rest(self, seconds: float) -> None:
        """Wait for so long that a newer request may come; raise `SupersededError` as soon as one has."""
        if self._passed.wait(seconds):
            raise SupersededError

    def pass_by(self) -> None:
        """Say that a newer request has come."""
        self._passed.set()


class Newest:
    """Gives tickets to the requests of one visit; each makes the one before it stale."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = Ticket()

    def take(self) -> Ticket:
        """Return the ticket of a new request."""
        with self._lock:
            self._last.pass_by()
            self._last = Ticket()
            return self._last

    def last(self) -> Ticket:
        """Return the ticket of the newest request."""
        with self._lock:
            return self._last
