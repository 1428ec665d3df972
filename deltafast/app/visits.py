"""All visits: kept apart, few enough, and together within bounds of memory."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence

from deltafast.app.studio import Studio
from deltafast.app.visit import Visit
from deltafast.errors import InvalidInputError

__all__ = ["MOST_BYTES", "Visits"]

MOST_BYTES = 1_500_000_000
"""Bytes of pictures, and of what makes them, that all visits may keep."""


class Visits:
    """All visits by their keys, kept apart; the oldest one ends where there are more than `most`, or after `idle` s.

    Where they keep more than `most_bytes` together, those that nobody has seen for longest doze, which costs them some
    time when they go on; where that is not enough, their photos are reduced, which they are told. `ended` is called
    with the key of every visit that ends.
    """

    def __init__(
        self,
        studio: Studio,
        most: int = 64,
        idle: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
        *,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._studio = studio
        self._most_bytes = most_bytes
        self.most = most
        self.ended: Callable[[str], None] = lambda key: None
        self._idle = idle
        self._clock = clock
        self._lock = threading.Lock()
        self._visits: dict[str, Visit] = {}

    def __len__(self) -> int:
        return len(self._visits)

    def of(self, key: str | None) -> Visit:
        """Return the visit of a key, a new one with its first call. Raises `InvalidInputError` without a key."""
        if not key:
            raise InvalidInputError("a visit needs a key of its own")
        now = self._clock()
        with self._lock:
            visit = self._visits.get(key) or Visit(self._studio)
            visit.last_seen = now
            self._visits[key] = visit
            past = {one: self._visits.pop(one) for one in self._past(now, key)}
            others = sorted((one for one in self._visits.values() if one is not visit), key=lambda one: one.last_seen)
        self._give_up(visit, others)
        for one, its in past.items():
            its.close()
            self.ended(one)
        return visit

    def known(self, key: str) -> Visit:
        """Return the visit that calls itself by `key` (`Visit.key`). Raises `InvalidInputError` where there is none."""
        with self._lock:
            found = next(
                (one for one in self._visits.values() if secrets.compare_digest(one.key.encode(), key.encode())), None
            )
        if found is None:
            raise InvalidInputError("this visit is over: reload the page")
        found.last_seen = self._clock()
        return found

    def end(self, key: str | None) -> None:
        """End the visit of a key, if there is one."""
        with self._lock:
            visit = self._visits.pop(key or "", None)
        if visit is not None:
            visit.close()
        if key:
            self.ended(key)

    def _give_up(self, visit: Visit, others: Sequence[Visit]) -> None:
        """Let visits give up what they can spare, the first of `others` first, until all keep little enough."""
        kept = visit.nbytes + sum(one.nbytes for one in others)
        for give_up in (Visit.doze, Visit.reduce_photo):
            for one in others:
                if kept <= self._most_bytes:
                    return
                kept -= one.nbytes
                give_up(one)
                kept += one.nbytes

    def _past(self, now: float, kept: str) -> Sequence[str]:
        others = sorted((visit.last_seen, key) for key, visit in self._visits.items() if key != kept)
        idle = [key for seen, key in others if now - seen > self._idle]
        surplus = [key for _, key in others[: max(0, len(self._visits) - self.most)]]
        return list(dict.fromkeys([*idle, *surplus]))
