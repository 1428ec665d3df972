"""What runs in every worker: a class that `ray.data.Dataset.map_batches` makes once and calls for batch after batch."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deltafast.errors import DiskError, InvalidInputError
from deltafast.inputs import Failures
from deltafast.memory import keep_freed_memory
from deltafast.scale.index import table_of_rows
from deltafast.scale.jobs import Job, Made
from deltafast.scale.journal import Journal, Place
from deltafast.scale.samples import Sample, samples_of_columns
from deltafast.scale.sinks import FolderSink, ShardSink

__all__ = ["FaceWorker"]

_STDERR = 2


class FaceWorker:
    """Makes batches of samples into files and rows of the index; a class for `ray.data.Dataset.map_batches`.

    - `job`: an `EditJob` or a `ProjectJob`; `out`: a folder that every worker can write.
    - `per_shard`: 0 leaves results as files; else they go into tar shards of so many samples.
    - `threads`: of this worker on the CPU; `timeout`: seconds after which a sample counts as hanging; `tries`: how
      often a sample is begun at most that ends its worker. `run`: what tells this run's notes from an earlier one's;
      `settings`: the digest of what all is made with, for the index.

    A batch is a table, or a dictionary of columns, with `id` and one of `path`, `seed`, or `bytes` and `name`. The
    result is an Arrow table of the index's columns (`deltafast.scale.index.schema`), one row for each sample. The same
    batch given again, as Ray does when a worker died, goes on where the last one was. What concerns one sample becomes
    the `error` of its row; what concerns all (a full disk, a missing editor) is raised.
    """

    def __init__(
        self,
        job: Job,
        out: str | os.PathLike[str],
        *,
        per_shard: int = 0,
        threads: int = 1,
        timeout: float = 600.0,
        tries: int = 3,
        run: str = "",
        settings: str = "",
    ) -> None:
        keep_freed_memory()
        self._out = Path(out)
        self._timeout = timeout
        self._most = tries
        self._run = run
        self._settings = settings
        self._sink = ShardSink(self._out, per_shard) if per_shard else FolderSink(self._out)
        self._engine = job.open(threads)
        self._place = Place(self._out)

    def __call__(self, batch: Any) -> Any:
        """Make the samples of a batch and return their rows."""
        with self._place.held():
            try:
                return self._rows(samples_of_columns(_columns(batch)))
            except BaseException:
                self._sink.close()
                raise

    def _rows(self, samples: list[Sample]) -> Any:
        journal = Journal.of(self._out, [sample.id for sample in samples], self._run, self._settings)
        for sample in samples:
            journal.tries[sample.id] += sample.tries
        todo = []
        for sample in samples:
            if sample.id in journal.rows:
                continue
            if sample.kind == "unreadable":
                journal.finish([self._row(sample, journal, error=sample.note)])
            else:
                todo.append(sample)
        for group in self._groups(todo, journal):
            self._try(group, journal)
        return table_of_rows([journal.rows[sample.id] for sample in samples])

    def _groups(self, samples: Sequence[Sample], journal: Journal) -> Iterator[list[Sample]]:
        """Yield what is made at once: those that were never begun together, then the others one by one.

        So what ends its worker does it at most once to others.
        """
        group: list[Sample] = []
        for sample in samples:
            if journal.tries[sample.id]:
                continue
            if group and (len(group) >= self._engine.group_size(group[0]) or _photo(group[0]) != _photo(sample)):
                yield group
                group = []
            group.append(sample)
        if group:
            yield group
        yield from ([sample] for sample in samples if journal.tries[sample.id] and sample.id not in journal.rows)

    def _try(self, group: list[Sample], journal: Journal) -> None:
        """Make some samples, noting first that they were begun."""
        tries = journal.tries[group[0].id]
        if tries >= self._most:
            error = (
                f"given up after {tries} tries: each time its worker died (killed, out of memory, a crash), or it took "
                f"longer than {self._timeout:g} s"
            )
            journal.finish([self._row(sample, journal, error=error, digested=False) for sample in group])
            return
        journal.begin([sample.id for sample in group])
        # a thread of C code: what never gives Python back is ended all the same, its stack on stderr
        faulthandler.dump_traceback_later(self._timeout * len(group), exit=True, file=_STDERR)
        try:
            self._make(group, journal)
        except BaseException:  # of all samples, a full disk, say: this one has no part in it
            with contextlib.suppress(DiskError):
                journal.end([sample.id for sample in group if sample.id not in journal.rows])
            raise
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _make(self, samples: list[Sample], journal: Journal) -> None:
        """Make samples, in smaller parts where memory is too small or one of them spoils the others."""
        failures = Failures()
        parts: list[list[Sample]] = []
        with failures.of(samples[0].label):
            try:
                self._write(samples, journal)
            except Exception as error:
                if _is_broken_device(error):
                    os._exit(1)  # nothing more will run in this process; Ray starts another one
                parts = self._parts(samples, _is_memory(error))
                if not parts:
                    raise
        if failures:
            journal.finish([self._row(samples[0], journal, error=failures.told[samples[0].label])])
        if parts:
            _free_memory()
        for part in parts:
            self._make(part, journal)

    def _parts(self, samples: list[Sample], memory: bool) -> list[list[Sample]]:
        """What is tried after an error instead of these samples at once; nothing where that is hopeless."""
        if memory:
            smaller = self._engine.shrink()
            half = len(samples) // 2
            return [samples[:half], samples[half:]] if half else [samples] if smaller else []
        return [[sample] for sample in samples] if len(samples) > 1 else []

    def _write(self, samples: list[Sample], journal: Journal) -> None:
        with self._sink.place() as folder:
            made = self._engine.make(samples, folder)
            pairs = [(sample.id, one.files) for sample, one in zip(samples, made, strict=True)]
            files = self._sink.keep(pairs)
        journal.finish(
            [self._row(sample, journal, one, kept) for sample, one, kept in zip(samples, made, files, strict=True)]
        )

    def _row(
        self,
        sample: Sample,
        journal: Journal,
        made: Made | None = None,
        files: Sequence[dict[str, Any]] = (),
        error: str | None = None,
        digested: bool = True,
    ) -> dict[str, Any]:
        digest = None
        if digested:  # what hangs its worker is not read once more, with nobody looking at the clock
            with contextlib.suppress(OSError, InvalidInputError):
                digest = sample.digest()
        size, changed = sample.stamp()
        row: dict[str, Any] = {
            "id": sample.id,
            "input": sample.label,
            "input_sha256": digest,
            "input_size": size,
            "input_time": changed,
            "settings": self._settings,
            "tries": journal.tries[sample.id],
            "files": list(files),
            "warnings": [],
            "error": error,
        }
        return row | (made.columns if made is not None else {})


def _photo(sample: Sample) -> bool:
    return sample.kind == "photo"


def _columns(batch: Any) -> Mapping[str, Sequence[Any]]:
    """Columns of whatever form Ray Data gives batches in."""
    if hasattr(batch, "to_pydict"):  # pyarrow
        return batch.to_pydict()  # type: ignore[no-any-return]
    if isinstance(batch, Mapping):  # numpy
        return batch
    return batch.to_dict("list")  # type: ignore[no-any-return]  # pandas


def _is_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")  # a job that did not load it does not wait for it now
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)  # torch's CPU allocator


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _is_broken_device(error: Exception) -> bool:
    """Whether a CUDA error has ended the device for this process."""
    return isinstance(error, RuntimeError) and not _is_memory(error) and "CUDA error" in str(error)
