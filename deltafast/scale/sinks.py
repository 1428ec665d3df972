"""Where results go: files in a folder, or members of tar shards, which webdataset reads."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tarfile
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from deltafast.errors import DiskError
from deltafast.files import lock_file, sha256_file

__all__ = [
    "SHARDS",
    "FolderSink",
    "ShardSink",
    "copy_members",
    "end_in_shard",
    "has_bytes",
    "member_name",
    "seal_shards",
    "taken_in_shard",
]

SHARDS = "shards"
_BLOCK = 512
_END = bytes(2 * _BLOCK)


class FolderSink:
    """Results stay the files that they are made as, each written atomically."""

    def __init__(self, out: Path) -> None:
        self._out = out

    @contextlib.contextmanager
    def place(self) -> Iterator[Path]:
        """Yield the folder below which results are written."""
        yield self._out

    def keep(self, samples: Sequence[tuple[str, list[Path]]]) -> list[list[dict[str, Any]]]:
        """Return the index's entries for the files of some samples, given by id, which are on disk."""
        return [
            [_entry(path.relative_to(self._out).as_posix(), path.stat().st_size, sha256_file(path)) for path in files]
            for _, files in samples
        ]

    def close(self) -> None:
        """Do nothing: every file is whole."""


class ShardSink:
    """Results become members of `OUT/shards/*.tar`, of which every worker writes its own.

    A shard takes `per_shard` samples. Its file is locked while a worker holds it; what a worker that was killed left
    behind the last sample with a row is cut off by `seal_shards`.
    """

    def __init__(self, out: Path, per_shard: int) -> None:
        self._folder = out / SHARDS
        self._per_shard = per_shard
        self._count = 0
        self._stream: IO[bytes] | None = None

    @contextlib.contextmanager
    def place(self) -> Iterator[Path]:
        """Yield a folder of this machine below which results are written, to be taken over by `keep`."""
        folder = Path(tempfile.mkdtemp(prefix="deltafast-"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def keep(self, samples: Sequence[tuple[str, list[Path]]]) -> list[list[dict[str, Any]]]:
        """Append the files of some samples, given by id; return the index's entries when they are on disk."""
        try:
            return self._append(samples)
        except OSError as error:
            self.close()  # what stands in it without a row is cut off later
            if isinstance(error, DiskError):
                raise
            raise DiskError(f"cannot write into {self._folder}: {error.strerror or error}") from error

    def _append(self, samples: Sequence[tuple[str, list[Path]]]) -> list[list[dict[str, Any]]]:
        if self._stream is None or self._count >= self._per_shard:
            self.close()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._stream = open(self._folder / f"{uuid.uuid4().hex[:16]}.tar", "xb")  # noqa: SIM115
            lock_file(self._stream.fileno())
            self._count = 0
        stream, shard = self._stream, f"{SHARDS}/{Path(self._stream.name).name}"
        rows: list[list[dict[str, Any]]] = []
        for name, files in samples:
            rows.append([])
            for path in files:
                data = path.read_bytes()
                member = member_name(name, path)
                start = _add_member(stream, member, data)
                rows[-1].append(_entry(member, len(data), sha256_file(path), shard, start))
        stream.flush()
        os.fsync(stream.fileno())
        self._count += len(samples)
        return rows

    def close(self) -> None:
        """End the shard that is being written; the next sample begins another one."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            with contextlib.suppress(OSError):
                stream.close()


def member_name(name: str, file: Path) -> str:
    """Return what a sample's file is called in a shard: the sample's key, a dot, and what the file adds to its name.

    webdataset takes for the key what stands before the first dot: seed0001_+1.5.png becomes seed0001.+1.5.png.
    """
    folder, _, last = name.rpartition("/")
    key = last.replace("%", "%25").replace(".", "%2E")
    rest = file.name.removeprefix(last).lstrip("._-")
    return f"{folder}/{key}.{rest}" if folder else f"{key}.{rest}"


def has_bytes(out: Path, files: Iterable[dict[str, Any]]) -> bool:
    """Whether the bytes of a row's files are there."""
    for file in files:
        path = out / (file["shard"] or file["name"])
        try:
            size = path.stat().st_size
        except OSError:
            return False
        if size < file["start"] + file["size"] if file["shard"] else size != file["size"]:
            return False
    return True


def end_in_shard(file: Mapping[str, Any]) -> int:
    """Return the byte of its shard at which what is behind a file, given by its entry in the index, begins."""
    return int(_blocks(file["start"] + file["size"]))


def taken_in_shard(file: Mapping[str, Any]) -> int:
    """Return the bytes that a file, given by its entry in the index, takes in its shard with its header."""
    return len(_header(file["name"], file["size"])) + _blocks(file["size"])


def copy_members(out: Path, shard: str, files: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Write files of a shard, given by their entries, into a new one, and return theirs there. Raises `DiskError`."""
    new = f"{SHARDS}/{uuid.uuid4().hex[:16]}.tar"
    try:
        with open(out / shard, "rb") as source, open(out / new, "xb") as target:
            entries = []
            for file in files:
                source.seek(file["start"])
                start = _add_member(target, file["name"], source.read(file["size"]))
                entries.append({**file, "shard": new, "start": start})
            target.flush()
            os.fsync(target.fileno())
    except OSError as error:
        raise DiskError(f"cannot write {out / new}: {error.strerror or error}") from error
    return entries


def _add_member(stream: IO[bytes], name: str, data: bytes) -> int:
    """Append one member to a tar archive, and return the byte at which it begins."""
    stream.write(_header(name, len(data)))
    start = stream.tell()
    stream.write(data + bytes(_blocks(len(data)) - len(data)))
    return start


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _blocks(size: int) -> int:
    """The bytes that so many take in an archive."""
    return -(-size // _BLOCK) * _BLOCK


def seal_shards(out: Path, ends: Mapping[str, int], *, wait: float = 10.0) -> None:
    """End every shard where it is to end, as a tar archive ends; one that has no end is removed.

    `ends`: by the shard's name below `out`, the byte behind its last file with a row. A shard that a worker still holds
    is left as it is after `wait` seconds. Raises `DiskError`.
    """
    until = time.monotonic() + wait
    for path in sorted((out / SHARDS).glob("*.tar")):
        try:
            _seal(path, ends.get(f"{SHARDS}/{path.name}", 0), until)
        except OSError as error:
            raise DiskError(f"cannot write {path}: {error.strerror or error}") from error


def _seal(path: Path, end: int, until: float) -> None:
    with open(path, "rb+") as stream:
        if stream.seek(0, io.SEEK_END) == end + len(_END):
            stream.seek(end)
            if stream.read() == _END:
                return
        while lock_file(stream.fileno()) is False:
            if time.monotonic() > until:
                return
            time.sleep(0.1)
        if not end:
            path.unlink()
            return
        stream.truncate(end)
        stream.seek(end)
        stream.write(_END)
        stream.flush()
        os.fsync(stream.fileno())


def _entry(name: str, size: int, sha256: str, shard: str | None = None, start: int = 0) -> dict[str, Any]:
    return {"name": name, "shard": shard, "start": start, "size": size, "sha256": sha256}
