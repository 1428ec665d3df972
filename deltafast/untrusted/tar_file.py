"""What a tar archive holds, read from its headers alone; nothing of it is ever unpacked under a name of its own."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.untrusted.checks import reading

__all__ = ["TarMember", "tar_members"]

_MAX_MEMBERS = 10_000_000


@dataclass(frozen=True)
class TarMember:
    """A file in an archive: its `name` with folders, relative and without `..`, and where its bytes are."""

    name: str
    start: int
    size: int


def tar_members(path: str | os.PathLike[str]) -> Iterator[TarMember]:
    """Yield the plain files of an uncompressed tar archive in their order; links, devices and the like are passed over.

    A damaged archive gives what stands before the damage, then raises `InvalidInputError` that names it.
    """

    def refuse(reason: str) -> DeltafastError:
        return InvalidInputError(f"{os.fspath(path)} cannot be read as a tar archive: {reason}")

    with reading(refuse):
        whole = os.path.getsize(path)
        with tarfile.open(path, "r:") as archive:
            for number, info in enumerate(archive):
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                if number >= _MAX_MEMBERS:
                    raise ValueError(f"holds more than {_MAX_MEMBERS} files")
                if not info.isreg() or info.issparse():
                    continue
                if info.size < 0 or info.offset_data + info.size > whole:
                    raise ValueError(f"is cut off after {number} files")
                name = _relative(info.name)
                if name:
                    yield TarMember(name, info.offset_data, info.size)


def _relative(name: str) -> str:
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join("".join(c if c.isprintable() else "_" for c in part) for part in parts)
