"""Bytes that are never read beyond their end, and bounds on what is made of them: of archives, and of repetition."""

from __future__ import annotations

import io
import zipfile
from typing import Any, BinaryIO

from deltafast.untrusted.checks import UnreadableError, check_growth

__all__ = ["Bounded", "Budget", "open_archive", "read_entry"]

_MAX_ENTRIES = 100_000


class Bounded:
    """Bytes as a file that refuses to read beyond its end, before anything is allocated."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self._size = len(data)

    @property
    def left(self) -> int:
        """How many bytes there are still to be read."""
        return self._size - self._stream.tell()

    def read(self, count: int) -> bytes:
        """Return `count` bytes. Raises `EOFError` where there are fewer."""
        if count < 0 or count > self.left:
            raise EOFError("the file ends too early (truncated?)")
        return self._stream.read(count)

    def readline(self) -> bytes:
        """Return the bytes up to the next line feed."""
        return self._stream.readline()

    def readinto(self, buffer: Any) -> int:
        """Refuse: nothing that is read here is out of band."""
        raise UnreadableError("an out-of-band buffer")


class Budget:
    """How many bytes may be made of a file of `size` bytes that may name one part of it any number of times."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._spent = 0

    def spend(self, count: int) -> None:
        """Count `count` bytes more. Raises `UnreadableError` where the file makes far more than it holds."""
        self._spent += count
        check_growth(self._spent, self._size, "a file that uses its parts again and again")


def open_archive(stream: BinaryIO, size: int) -> zipfile.ZipFile:
    """Open a zip file of `size` bytes. Raises `UnreadableError` where it claims more than it is."""
    archive = zipfile.ZipFile(stream)
    entries = archive.infolist()
    if len(entries) > _MAX_ENTRIES:
        raise UnreadableError(f"an archive of {len(entries)} entries, expected at most {_MAX_ENTRIES}")
    packed = sum(entry.compress_size for entry in entries)
    if packed > size:
        raise UnreadableError(f"an archive of {size} bytes whose entries claim {packed}")
    return archive


def read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return one entry, unpacked. Raises `UnreadableError` for a zip bomb."""
    entry = archive.getinfo(name)
    check_growth(entry.file_size, entry.compress_size, "an entry (a zip bomb?)")
    return archive.read(entry)
