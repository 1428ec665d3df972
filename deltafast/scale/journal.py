"""What workers note on disk: which samples they began, and the row of each that is done."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from deltafast.errors import DiskError, WorkerError
from deltafast.files import lock_file
from deltafast.untrusted.json_text import parse_json

__all__ = ["FOLDER", "Journal", "Place", "await_workers", "journals"]

FOLDER = "journal"
_SUFFIX = ".jsonl"
_WORKER = ".worker"


class Journal:
    """The notes on one batch, which a worker that is given the batch again finds.

    One line for each try, one for each row; a line that was torn off is as if it had not been. A row is noted after the
    bytes of its sample are on disk, so that what has a row is done. Tries that were made with other `settings` (a
    digest of them) are passed over. Raises `DiskError` where nothing can be written.
    """

    def __init__(self, path: Path, settings: str = "") -> None:
        self.path = path
        self._settings = settings
        self.rows: dict[str, dict[str, Any]] = {}
        self.tries: Counter[str] = Counter()
        for value in _values(path):
            if isinstance(value.get("row"), dict) and isinstance(value["row"].get("id"), str):
                self.rows[value["row"]["id"]] = value["row"]
            elif value.get("settings", "") != settings:
                continue
            elif isinstance(value.get("begun"), list):
                self.tries.update(one for one in value["begun"] if isinstance(one, str))
            elif isinstance(value.get("ended"), list):
                self.tries.subtract(one for one in value["ended"] if isinstance(one, str))

    @classmethod
    def of(cls, out: Path, ids: Iterable[str], run: str = "", settings: str = "") -> Journal:
        """Return the journal of the batch of these samples below `out`, in the run called `run`."""
        digest = hashlib.sha256("\n".join([run, *ids]).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return cls(out / FOLDER / digest[:2] / f"{digest}{_SUFFIX}", settings)

    def begin(self, ids: Sequence[str]) -> None:
        """Note that these samples are begun, before anything else is done with them."""
        self._append([{"begun": list(ids), "settings": self._settings}])
        self.tries.update(ids)

    def end(self, ids: Sequence[str]) -> None:
        """Note that these samples were given up for now by no fault of theirs, so that the try does not count."""
        self._append([{"ended": list(ids), "settings": self._settings}])
        self.tries.subtract(ids)

    def finish(self, rows: Sequence[dict[str, Any]]) -> None:
        """Note the rows of samples whose bytes are on disk."""
        self._append([{"row": row} for row in rows])
        self.rows.update({row["id"]: row for row in rows})

    def _append(self, values: Sequence[dict[str, Any]]) -> None:
        # a torn line before ends here
        text = "".join(f"\n{json.dumps(value, sort_keys=True)}\n" for value in values)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as stream:
                stream.write(text.encode())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise DiskError(f"cannot write {self.path}: {error.strerror or error}") from error


def journals(out: Path, settings: str = "") -> Iterator[Journal]:
    """Yield every journal below `out`, with the tries that were made with these settings."""
    for path in sorted((out / FOLDER).glob(f"*/*{_SUFFIX}")):
        yield Journal(path, settings)


class Place:
    """A worker's right to write below `out`, which a run that begins later takes away.

    It is a file that is locked while a batch is made. Raises `DiskError` where it cannot be made.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / FOLDER / f"{uuid.uuid4().hex}{_WORKER}"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(exist_ok=False)
        except OSError as error:
            raise DiskError(f"cannot write {self._path}: {error.strerror or error}") from error

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold it for the block. Raises `WorkerError` where a later run has taken it away."""
        with contextlib.ExitStack() as stack:
            try:
                stream = stack.enter_context(open(self._path, "rb+"))
                lock_file(stream.fileno())
                taken = os.fstat(stream.fileno()).st_nlink == 0
            except FileNotFoundError:
                taken = True
            if taken:
                raise WorkerError(f"a later run works in {self._path.parent.parent} now; this one has ended")
            yield


def await_workers(out: Path, seconds: float) -> bool:
    """Wait until no worker is at a batch below `out`, let none begin another, and return whether that came true.

    Workers outlive a driver that was killed, for some seconds.
    """
    until = time.monotonic() + seconds
    for path in (out / FOLDER).glob(f"*{_WORKER}"):
        with contextlib.suppress(FileNotFoundError), open(path, "rb+") as stream:
            while lock_file(stream.fileno()) is False:
                if time.monotonic() > until:
                    return False
                time.sleep(0.1)
            path.unlink()
    return True


def _values(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):  # torn, or empty
            value = parse_json(line.decode())
            if isinstance(value, dict):
                yield value
