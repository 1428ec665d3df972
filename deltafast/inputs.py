"""The inputs of a command: which files a folder stands for, what their results are called, and which of them failed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deltafast.errors import (
    DeltafastError,
    DiskError,
    DownloadError,
    EditorError,
    EncoderError,
    InvalidInputError,
    ResumeError,
    WorkerError,
)

__all__ = ["Failures", "InputFile", "find_inputs", "is_there", "names_of"]

_OWN = ("settings", "report")  # files of a run itself, beside what it makes of its inputs
_DERIVED = re.compile(r"(.+)-(?:\d+|sheet|alignment)")  # what results of an input called (...) may be called
_MAX_NAME = 200  # bytes; file systems take 255, and results have suffixes
_WHOLE_RUN = (DownloadError, EditorError, EncoderError, ResumeError, WorkerError)
_OF_ONE_FILE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EISDIR, errno.EINVAL)

_log = logging.getLogger("deltafast")


@dataclass(frozen=True)
class InputFile:
    """A file, and the `name` of what is made of it: its place below the folder that was given, without a suffix."""

    path: Path
    name: str


def is_there(text: str) -> bool:
    """Whether `text` is the path of something that exists; False for what no file system takes as a name."""
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def find_inputs(
    source: Path, out: Path, suffixes: Sequence[str], what: str, preferred: Sequence[str] = ()
) -> list[InputFile]:
    """Return the files that `source` stands for, with one of `suffixes` (given in lower case; files may shout them).

    Of a file it is the file itself; of a folder all files in it and in its subfolders, sorted, but not what lies in
    hidden ones, nor in `out`, where the results go; subfolders that cannot be read are left out, which a warning of
    the logger "deltafast" says. Of a folder that holds files with `preferred` suffixes only
    these are taken. `what` names the files in errors. Raises `InvalidInputError` where there is none of them, where the
    folder cannot be read, or where the results would lie among the inputs.
    """
    try:
        is_folder, is_file = source.is_dir(), source.is_file()
    except (OSError, ValueError):  # a name that no file system takes
        is_folder = is_file = False
    known = ", ".join(suffixes)
    if not is_folder and not is_file:
        raise InvalidInputError(f"{source} is neither a folder nor a file of {what}")
    if out.resolve() == (source if is_folder else source.parent).resolve():
        raise InvalidInputError(f"OUT must be another folder than that of the {what}, {out}")
    if is_file:
        if source.suffix.lower() not in suffixes:
            raise InvalidInputError(f"{source} is no file of {what} ({known})")
        return [InputFile(source, name) for name in names_of([source]).values()]
    found = []
    for folder, names in _folders(source, out):
        files = [Path(folder, name) for name in sorted(names) if Path(name).suffix.lower() in suffixes]
        files = [path for path in files if path.is_file()]
        files = [path for path in files if path.suffix.lower() in preferred] or files
        place = Path(folder).relative_to(source)
        found += [InputFile(path, (place / name).as_posix()) for path, name in names_of(files).items()]
    if not found:
        raise InvalidInputError(f"{source} holds no {what} ({known})")
    return found


def _folders(source: Path, out: Path) -> Iterator[tuple[str, list[str]]]:
    results = out.resolve()

    def refused(error: OSError) -> None:
        reason = error.strerror or error
        if error.filename is None or Path(error.filename) == source:
            raise InvalidInputError(f"{source} cannot be read: {reason}") from error
        _log.warning("%s cannot be read and is left out: %s", error.filename, reason)

    for folder, inner, files in os.walk(source, onerror=refused):
        inner[:] = sorted(n for n in inner if not n.startswith(".") and Path(folder, n).resolve() != results)
        yield folder, files


def names_of(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the names for what is made of files of one folder; no two results are ever called the same.

    It is the stem of each file, or its whole name where the stem, alone or with what results add to it, would name
    another's too, and that with a digest where even the whole name would. Names that differ by upper and lower case
    alone are the same on many systems, and here. A name too long for a file system is cut, and told apart by a digest.
    """
    ranks = dict.fromkeys(paths, 0)
    while True:
        names = {path: _named(path.name, path.stem, rank) for path, rank in ranks.items()}
        clashing = _clashing(names, ranks)
        if not clashing:
            return names
        for path in clashing:
            ranks[path] += 1


_LAST_RANK = 2


def _named(name: str, stem: str, rank: int) -> str:
    """The name of rank 0, 1 or 2 for what is made of a file: each is longer, and less likely to be another's."""
    if rank < _LAST_RANK:
        return _cut(stem if rank == 0 else name)
    return f"{_cut(name, _MAX_NAME - 17)}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"


def _clashing(names: Mapping[Path, str], ranks: Mapping[Path, int]) -> set[Path]:
    """The files that need a name of the next rank: of two that clash those of the lower one."""
    places: dict[str, list[Path]] = defaultdict(list)
    for path, name in names.items():
        places[_alike(name)].append(path)
    found: set[Path] = set()
    for name, group in places.items():
        if len(group) > 1 or name in _OWN:
            found |= _lowest(group, ranks)
        base = name
        while match := _DERIVED.fullmatch(base):  # what is made of `base` may be called `name`
            base = match[1]
            if base in places:
                others = _lowest(places[base], ranks)
                lower = min(ranks[path] for path in others) <= min(ranks[path] for path in group)
                found |= others if lower else _lowest(group, ranks)
    return {path for path in found if ranks[path] < _LAST_RANK}


def _lowest(group: Sequence[Path], ranks: Mapping[Path, int]) -> set[Path]:
    least = min(ranks[path] for path in group)
    return {path for path in group if ranks[path] == least}


def _alike(name: str) -> str:
    """A name as systems compare it that know no upper and lower case, and one way to write an accent."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _cut(name: str, most: int = _MAX_NAME) -> str:
    coded = os.fsencode(name)
    if len(coded) <= most:
        return name
    kept = coded[: most - 9].decode("utf-8", "ignore")
    return f"{kept}-{hashlib.sha256(coded).hexdigest()[:8]}"


class Failures:
    """What went wrong with single inputs, so that the rest is done: `told` maps each one's label to the reason.

    The one place that decides which errors concern one input, and which the whole run.
    """

    def __init__(self) -> None:
        self.told: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.told)

    @contextlib.contextmanager
    def of(self, label: str) -> Iterator[None]:
        """Keep whatever error the block raises about the input called `label`, unless it concerns the whole run."""
        try:
            yield
        except Exception as error:  # decoders and readers meet hostile bytes with errors of every kind
            if _concerns_whole_run(error):
                raise
            if _concerns_the_device(error):
                raise DeltafastError(
                    f"{label}: {_reason(error, label)}; what was finished is kept. Less memory is needed with fewer "
                    "images at once (--batch-size)"
                ) from error
            _log.debug("%s could not be used", label, exc_info=True)
            self.told[label] = _reason(error, label)


def _concerns_whole_run(error: Exception) -> bool:
    if isinstance(error, DiskError):  # a full disk will be full for the next one too
        cause = error.__cause__
        return not (isinstance(cause, OSError) and cause.errno in _OF_ONE_FILE)
    return type(error) is DeltafastError or isinstance(error, _WHOLE_RUN)


def _concerns_the_device(error: Exception) -> bool:
    """Whether a GPU has no memory left or is in an error, which the next input would meet too."""
    return any(
        kind.__module__.partition(".")[0] == "torch" and kind.__name__ in ("OutOfMemoryError", "AcceleratorError")
        for kind in type(error).__mro__
    )


def _reason(error: Exception, label: str) -> str:
    text = str(error).strip()
    if isinstance(error, DeltafastError):
        return text.removeprefix(label).removeprefix(":").strip() or type(error).__name__
    line = text.splitlines()[0] if text else ""
    return f"cannot be used ({type(error).__name__}{': ' if line else ''}{line})"
