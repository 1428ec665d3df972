"""The one progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterable, Sized
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["track"]

T = TypeVar("T")
_shown: list[Progress] = []  # the bar on the screen, to which what is tracked meanwhile adds a line of its own


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Generator[T, None, None]:
    """Yield from `iterable` behind a progress bar on stderr.

    `total` is the number of items where `iterable` has no length. Within another bar it is a line below it. Nothing is
    drawn where stderr is no terminal or `DELTAFAST_QUIET` is set.
    """
    if os.environ.get("DELTAFAST_QUIET") or not sys.stderr.isatty():
        yield from iterable
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    if _shown:
        bar = _shown[-1]
        line = bar.add_task(description, total=total)
        try:
            yield from bar.track(iterable, total=total, task_id=line)
        finally:
            bar.remove_task(line)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        _shown.append(bar)
        try:
            yield from bar.track(iterable, total=total, description=description)
        finally:
            _shown.remove(bar)
