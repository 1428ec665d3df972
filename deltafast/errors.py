"""Every error that deltafast raises for something a caller can mend.

All of them derive from `DeltafastError`, so `except deltafast.errors.DeltafastError` catches exactly what this
library reports, and nothing that is a defect of it.
"""

from __future__ import annotations

import os

__all__ = [
    "BuildError",
    "CheckpointError",
    "DeltafastError",
    "DiskError",
    "DownloadError",
    "EditorError",
    "EncoderError",
    "ImageError",
    "InvalidInputError",
    "NativeOpError",
    "ResumeError",
    "WorkerError",
]


class DeltafastError(Exception):
    """Base of all errors raised on purpose by deltafast.

    As text they are printable: what a hostile file or name has put into one cannot speak to a terminal.
    """

    def __str__(self) -> str:
        return "".join(c if c.isprintable() or c == "\n" else "?" for c in super().__str__())


class InvalidInputError(DeltafastError, ValueError):
    """An argument has a wrong type, shape, dtype, device or value (NaN latents, alpha of the wrong length)."""


class CheckpointError(DeltafastError):
    """A generator checkpoint cannot be read safely or does not hold what it should.

    Arguments: `path` (the file) and `reason` (what was found, what was expected); both are attributes.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        self.path = os.fspath(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")

    def __reduce__(self) -> tuple[type[DeltafastError], tuple[str, str]]:
        return type(self), (self.path, self.reason)  # a worker process hands it on


class EditorError(DeltafastError):
    """An editor file is damaged, of another format version, or does not fit the generator it meets."""


class EncoderError(DeltafastError):
    """An encoder file is damaged, of another format version, or maps to another generator's latent space."""


class ImageError(DeltafastError):
    """An image cannot be read or does not show what was asked for.

    Arguments: `path` (the file) and `reason`; both are attributes.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        self.path = os.fspath(path)
        self.reason = reason
        super().__init__(f"{self.path}: {reason}")

    def __reduce__(self) -> tuple[type[DeltafastError], tuple[str, str]]:
        return type(self), (self.path, self.reason)  # a worker process hands it on


class DownloadError(DeltafastError):
    """A file that deltafast needs could not be fetched, or its sha256 is not the expected one."""


class DiskError(DeltafastError, OSError):
    """A file could not be written (disk full, no permission); what was finished before is intact."""


class ResumeError(DeltafastError):
    """An output folder holds the state of a run with other settings, so it cannot be continued."""


class WorkerError(DeltafastError, RuntimeError):
    """A process that was working ended by itself; what was finished before is kept."""


class NativeOpError(DeltafastError, RuntimeError):
    """`impl="native"` was asked for where no native kernel can run; never answered by a silent fallback."""


class BuildError(DeltafastError, ImportError):
    """The extension module `deltafast._C` is missing, or was built for another interpreter or platform."""
