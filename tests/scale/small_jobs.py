"""A job as small as can be, whose samples misbehave as their names say, in a module that workers can import."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deltafast.errors import DiskError, InvalidInputError
from deltafast.scale.jobs import Engine, Job, Made
from deltafast.scale.samples import Sample


@dataclass(frozen=True)
class TextJob:
    """Writes each sample's name into a file, and notes in `notes` how many were made at once.

    A sample called crash... ends its worker, hang... hangs at its first try, bad... cannot be used, big... needs more
    memory than two samples at once leave, full... finds the disk full while `notes/full` is there. All take `seconds`,
    and one with a file becomes as many files as stands in there.
    """

    notes: Path
    seconds: float = 0.0

    def open(self, threads: int) -> _TextEngine:
        return _TextEngine(self)


class _TextEngine:
    def __init__(self, job: TextJob) -> None:
        self.job = job
        self.size = 4

    def group_size(self, sample: Sample) -> int:
        return self.size

    def shrink(self) -> bool:
        self.size //= 2
        return self.size >= 1

    def make(self, samples: Sequence[Sample], folder: Path) -> list[Made]:
        with open(self.job.notes / "made", "a") as stream:
            stream.write(" ".join(sample.id for sample in samples) + "\n")
        time.sleep(self.job.seconds)
        for sample in samples:
            self._misbehave(sample, len(samples))
        made = []
        for sample in samples:
            count = int(sample.read()) if sample.path else 1
            paths = [folder / f"{sample.id}{f'-{number}' if number else ''}.txt" for number in range(count)]
            for path in paths:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(sample.id)
            made.append(Made(paths, {"done": "written", "faces": 1, "before": {"yaw": [1.5]}, "warnings": ["small"]}))
        return made

    def _misbehave(self, sample: Sample, count: int) -> None:
        if sample.id.startswith("crash"):
            os._exit(9)
        if sample.id.startswith("hang") and not (self.job.notes / sample.id).exists():
            (self.job.notes / sample.id).touch()
            time.sleep(1000)
        if sample.id.startswith("bad"):
            raise InvalidInputError("it is bad")
        if sample.id.startswith("big") and count > 1:
            raise MemoryError
        if sample.id.startswith("full") and (self.job.notes / "full").exists():
            cause = OSError(errno.ENOSPC, "No space left on device")
            raise DiskError(f"cannot write: {cause.strerror}") from cause


@dataclass(frozen=True)
class SlowJob:
    """Another job, which takes `seconds` longer for what it makes at once."""

    job: Job
    seconds: float

    def open(self, threads: int) -> Engine:
        engine = self.job.open(threads)
        make = engine.make

        def slowly(samples: Sequence[Sample], folder: Path) -> list[Made]:
            time.sleep(self.seconds)
            return make(samples, folder)

        engine.make = slowly  # type: ignore[method-assign]
        return engine


def seeds(*names: str) -> list[Sample]:
    """Samples of these names."""
    return [Sample(name, "seed", number=number) for number, name in enumerate(names)]
