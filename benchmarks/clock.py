"""How time is taken: with CUDA events on a GPU, with the processor's clock elsewhere; on inputs that no cache holds."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, Protocol

import torch
from torch import Tensor

MORE_THAN_CACHES = 256 * 2**20  # bytes; an H200's L2 holds 60 MB, a server CPU's last level about as much
_MOST_COPIES = 64
_MOST_CLEARINGS = 100  # before one call
_LONGER = 1.5  # than the call's launches takes its clearing
_WARM_UP = 5

Inputs = Sequence[Tensor | None]


class Event(Protocol):
    """What `EventClock` needs of an event; `torch.cuda.Event(enable_timing=True)` has it."""

    def record(self) -> None:
        """Note the moment at which everything queued so far is done."""

    def synchronize(self) -> None:
        """Wait for that moment."""

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds from here to `end`."""


class HostEvent:
    """An event of the processor's clock, for machines without a GPU: they walk the same path."""

    def __init__(self) -> None:
        self._at = 0.0

    def record(self) -> None:
        """Note the time."""
        self._at = time.perf_counter()

    def synchronize(self) -> None:
        """Nothing is queued here."""

    def elapsed_time(self, end: HostEvent) -> float:
        """Milliseconds from here to `end`."""
        return (end._at - self._at) * 1e3


@dataclass(frozen=True)
class Instant:
    """A reading of `EventClock`; `later - earlier` waits for the later one and is in seconds."""

    event: Event

    def __sub__(self, earlier: Instant) -> float:
        self.event.synchronize()
        return earlier.event.elapsed_time(self.event) / 1e3


class EventClock:
    """`time.perf_counter` for the current CUDA stream.

    Reading it only queues an event, so while the GPU still clears its caches the launches that are to be timed already
    queue up behind: what is measured is the GPU's time, as long as launching takes less than clearing, which
    `ColdInputs.cover` sees to.
    """

    __name__ = "EventClock"  # pytest-benchmark writes the clock's name beside the figures

    def __init__(self, new_event: Callable[[], Event] | None = None) -> None:
        self._new_event = new_event or (lambda: torch.cuda.Event(enable_timing=True))

    def __call__(self) -> Instant:
        event = self._new_event()
        event.record()
        return Instant(event)


def clock_for(device: torch.device) -> Callable[[], Any]:
    """Return the clock that shows `device`'s time; differences of its readings are seconds."""
    return EventClock() if device.type == "cuda" else time.perf_counter


class ColdInputs:
    """Hands out copies of the inputs in turn, more of them than the caches hold, and clears a GPU's L2 before each."""

    def __init__(self, inputs: Inputs, device: torch.device, more_than: int = MORE_THAN_CACHES) -> None:
        size = sum(value.nbytes for value in inputs if value is not None)
        copies = [list(inputs)]
        while size and len(copies) * size < more_than and len(copies) < _MOST_COPIES:
            copies.append([None if value is None else value.clone() for value in inputs])
        self.count = len(copies)
        self._turn: Iterator[list[Tensor | None]] = itertools.cycle(copies)
        self._scratch: Tensor | None = None
        if device.type == "cuda":
            cache = torch.cuda.get_device_properties(device).L2_cache_size
            self._scratch = torch.empty(max(2 * cache, more_than), dtype=torch.uint8, device=device)
        self.clearings = 1

    def __call__(self) -> list[Tensor | None]:
        if self._scratch is not None:
            for _ in range(self.clearings):
                self._scratch.zero_()
        return next(self._turn)

    def cover(self, call: Callable[..., Any]) -> float:
        """Clear so often that the GPU is busy with it until all of `call(*inputs)` is launched; return the launch time.

        What is timed then is the GPU's time alone: of a small op, Python's launch would otherwise be most of it. In
        seconds, 0 on a CPU.
        """
        if self._scratch is None:
            return 0.0
        call(*self())
        torch.cuda.synchronize(self._scratch.device)
        clock = EventClock()
        begun = clock()
        for _ in range(10):
            self._scratch.zero_()
        one = (clock() - begun) / 10
        launches = []
        for _ in range(5):
            arguments = self()
            at = time.perf_counter()
            call(*arguments)
            launches.append(time.perf_counter() - at)
            torch.cuda.synchronize(self._scratch.device)
        self.clearings = clearings_for(median(launches), one)
        return median(launches)


def clearings_for(launch: float, clearing: float) -> int:
    """Return how many clearings of so many seconds each outlast the launches of a call."""
    return max(1, min(_MOST_CLEARINGS, math.ceil(_LONGER * launch / max(clearing, 1e-6))))


@dataclass(frozen=True)
class Timing:
    """Median and quartiles in seconds, and how many rounds they are of."""

    median_s: float
    q1_s: float
    q3_s: float
    rounds: int


def in_turns(calls: dict[str, Callable[[], object]], rounds: int, warm_up: int) -> dict[str, list[float]]:
    """Return the seconds of each of `calls` in so many rounds, in which they take turns, after rounds to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + rounds):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            elapsed = time.perf_counter() - begun
            if turn >= warm_up:
                seconds[name].append(elapsed)
    return seconds


def median_and_quartiles(seconds: Sequence[float]) -> dict[str, Any]:
    """Return the median and the first and third quartile of two or more times, as JSON values."""
    low, middle, high = quantiles(seconds, n=4)
    return {"median_s": middle, "quartiles_s": [low, high]}


def rounds_within(seconds: float, one: float, least: int = 5, most: int = 200) -> int:
    """Return how many rounds of `one` second each fit into `seconds`, within `least` and `most`."""
    return max(least, min(most, int(seconds / max(one, 1e-6))))


def measure(call: Callable[..., Any], inputs: Inputs, device: torch.device, *, seconds: float = 0.5) -> Timing:
    """Time `call(*inputs)` for about `seconds` after a warm-up."""
    clock, cold = clock_for(device), ColdInputs(inputs, device)

    def once() -> float:
        arguments = cold()
        begun = clock()
        call(*arguments)
        elapsed: float = clock() - begun
        return elapsed

    one = min(once() for _ in range(_WARM_UP))
    samples = [once() for _ in range(rounds_within(seconds, one))]
    q1, middle, q3 = quantiles(samples, n=4, method="inclusive")
    return Timing(middle, q1, q3, len(samples))
