"""Programs run side by side within a time: each in processes of its own, stopped at its end, its evidence kept."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from benchmarks.evidence import LOST_DEVICE, read_rows, settled

ROOT = Path(__file__).resolve().parent.parent

_POLL = 0.05  # seconds
_TAIL = 3000  # characters of the output of what failed
_MOST_STARTS = 4  # of one part, each after a crash that left new evidence
_NO_MEMORY = ("OutOfMemoryError", "CUDA out of memory", "cudaErrorMemoryAllocation", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class Part:
    """A program: `command`, run in the checkout with `environment` besides.

    `evidence`: whether it takes `--evidence FILE`. `timeout`: the seconds after which it counts as hanging.
    """

    name: str
    command: Sequence[str | Path]
    environment: Mapping[str, str] = field(default_factory=dict)
    evidence: bool = True
    timeout: float = float("inf")


@dataclass
class _Turn:
    """A part with what became of it so far."""

    part: Part
    starts: int = 0
    crashes: int = 0
    rows: int = 0
    alone: bool = False
    seconds: float = 0.0


@dataclass
class _Running:
    turn: _Turn
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    begun: float
    company: bool = False


class Parts:
    """Runs parts in a folder for their evidence and output; `on_end` is called with each part's record.

    A record: name, ok, seconds, starts, evidence (rows), and of what failed reason and the end of its output.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], on_end: Callable[[dict[str, Any]], None]) -> None:
        self._folder = folder
        self._environment = environment
        self._on_end = on_end
        self._running: list[_Running] = []

    def run(self, parts: Sequence[Part], seconds: float, parallel: int) -> None:
        """Run `parts` in their order, `parallel` at a time, for at most so many seconds."""
        end = time.monotonic() + seconds
        waiting = [_Turn(part) for part in parts]
        try:
            while waiting or self._running:
                late = time.monotonic() >= end
                while waiting and not late and self._has_room(waiting[0], parallel):
                    self._start(waiting.pop(0))
                for running in list(self._running):
                    again = self._look_after(running, late)
                    if again is not None:
                        waiting.append(again)
                if late:
                    for turn in waiting:
                        self._record(turn, "the step's time was over before it began")
                    waiting.clear()
                time.sleep(_POLL)
        finally:
            for running in self._running:
                _stop(running.process)

    def _has_room(self, turn: _Turn, parallel: int) -> bool:
        if any(running.turn.alone for running in self._running):
            return False
        return not self._running if turn.alone else len(self._running) < parallel

    def _file(self, turn: _Turn, suffix: str) -> Path:
        kept = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in turn.part.name)
        return self._folder / f"{kept}.{suffix}"

    def _start(self, turn: _Turn) -> None:
        turn.starts += 1
        command = [*map(str, turn.part.command)]
        if turn.part.evidence:
            command += ["--evidence", str(self._file(turn, "jsonl"))]
        output = open(self._file(turn, "log"), "ab")  # noqa: SIM115  (closed when the part ends)
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **self._environment, **turn.part.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=os.setpgrp,  # a group of its own, to be stopped as a whole
            )
        except OSError as error:
            output.close()
            self._record(turn, f"it cannot be run: {error}")
            return
        self._running.append(_Running(turn, process, output, time.monotonic()))
        if len(self._running) > 1:
            for running in self._running:
                running.company = True

    def _look_after(self, running: _Running, late: bool) -> _Turn | None:
        """Record a part that ended or must end; return what is to be run once more."""
        turn, code = running.turn, running.process.poll()
        hangs = time.monotonic() - running.begun > turn.part.timeout
        if code is None and not (late or hangs):
            return None
        if code is None:
            _stop(running.process)
        self._running.remove(running)
        running.output.close()
        turn.seconds += time.monotonic() - running.begun
        if code is None:
            limit = f"it did not end within {turn.part.timeout:.0f} s"
            self._record(turn, limit if hangs else "it was cut off when the step's time was over")
            return None
        text = self._output(turn)
        rows = len(read_rows(self._file(turn, "jsonl")))
        if code and any(words in text for words in _NO_MEMORY):
            if running.company and not turn.alone:
                turn.alone = True  # others may have had the memory
                self._file(turn, "jsonl").unlink(missing_ok=True)
                self._file(turn, "log").unlink(missing_ok=True)
                return turn
            self._record(turn, "it ran out of the GPU's memory")
        elif (code < 0 or code == LOST_DEVICE) and rows > turn.rows and turn.starts < _MOST_STARTS:
            turn.rows = rows  # the next start leaves out what crashed
            turn.crashes += 1
            return turn
        else:
            self._record(turn, _reason(code))
        return None

    def _output(self, turn: _Turn) -> str:
        try:
            return self._file(turn, "log").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""

    def _record(self, turn: _Turn, reason: str) -> None:
        rows = settled(read_rows(self._file(turn, "jsonl")))
        wrong = [row for row in rows if not row.get("ok", True)]
        if wrong and not reason.startswith("it "):
            reason = f"{len(wrong)} of {len(rows)} results are wrong" + (f"; {reason}" if reason else "")
        if turn.crashes and not reason:
            reason = f"it crashed {turn.crashes} times"
        record: dict[str, Any] = {"name": turn.part.name, "ok": not reason, "seconds": round(turn.seconds, 1)}
        record |= {"starts": turn.starts, "evidence": rows}
        if reason:
            record |= {"reason": reason, "output": self._output(turn)[-_TAIL:]}
        self._on_end(record)


def _reason(code: int) -> str:
    if code < 0:
        return f"it crashed with {signal.Signals(-code).name}"
    return f"exit code {code}" if code else ""


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a part with all its processes; none outlives it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
