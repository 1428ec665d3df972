"""What people upload: where it lies for the moment of its reading, how much of it is taken, and that it goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deltafast.errors import DeltafastError
from deltafast.files import hold_folder

__all__ = ["MAX_UPLOAD", "Shelf", "uploaded"]

MAX_UPLOAD = 40_000_000
"""Bytes of one file."""

_MOST_FILES = 64  # that wait for their reading
_PREFIX = "deltafast-app-"
_of_this_process: set[Path] = set()  # whose lock does not keep this process itself away


class Shelf:
    """A folder for uploads, in memory where the system has such a place, that is gone when the app is.

    A folder that a killed app has left is removed by the next one.
    """

    def __init__(self, parent: Path | None = None) -> None:
        if parent is None:
            memory = Path("/dev/shm")
            parent = memory if memory.is_dir() and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
        for left in parent.glob(f"{_PREFIX}*"):
            if (
                left not in _of_this_process
                and left.is_dir()
                and os.stat(left).st_uid == os.getuid()
                and hold_folder(left) is not None
            ):
                shutil.rmtree(left, ignore_errors=True)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        _of_this_process.add(self.folder)
        self._held = hold_folder(self.folder)

    def has_room(self) -> bool:
        """Whether another upload may be taken: few of them wait to be read."""
        return sum(len(files) for _, _, files in os.walk(self.folder)) < _MOST_FILES

    def own_place(self, path: Path) -> Path:
        """Move an upload to a place that no other upload shares, and return it."""
        place = Path(tempfile.mkdtemp(dir=self.folder)) / path.name
        os.replace(path, place)
        return place

    def remove(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        _of_this_process.discard(self.folder)


@contextlib.contextmanager
def uploaded(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an uploaded file for its reading, and remove it in any case.

    Raises `DeltafastError` for one that is gone, is no plain file, or is larger than `MAX_UPLOAD`.
    """
    place = Path(path)
    try:
        if place.is_symlink() or not place.is_file():
            raise DeltafastError("the upload is gone: please bring it again")
        if place.stat().st_size > MAX_UPLOAD:
            raise DeltafastError(f"the file is larger than {MAX_UPLOAD // 1_000_000} MB, the most that is taken")
        yield place
    finally:
        with contextlib.suppress(OSError):
            place.unlink()
        if place.parent.parent.name.startswith(_PREFIX):  # a place of its own
            with contextlib.suppress(OSError):
                place.parent.rmdir()
