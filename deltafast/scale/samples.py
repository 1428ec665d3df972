"""The one record of what is to be worked on: a sample, where its bytes are, and how they are read."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError
from deltafast.files import IMAGE_SUFFIXES, sha256_file

__all__ = ["ROW_GROUP", "Kind", "Sample", "check_id", "samples_of_columns", "table_of_samples"]

Kind = Literal["seed", "photo", "latents", "row", "unreadable"]
ROW_GROUP = 1 << 32
"""The `number` of a parquet row is its row group times this, and its place in there."""
_MAX_ID = 1000  # characters


@dataclass(frozen=True, slots=True)
class Sample:
    """One unit of work, and one row of the index.

    - `id`: its name, which its results are called by; folders in it are folders of the results.
    - `kind`: "seed", a sampled face; "photo", which may show several; "latents", one latent of a file; "row", one
      latent of a parquet file; "unreadable", of which `note` says why.
    - `path`: the file, or the tar archive that holds it. `start`, `size`: of an archive the bytes it takes, else -1.
    - `number`: the seed; which latent of the file.
    - `name`: the file's own name, in an archive too.
    - `tries`: how often it was begun in earlier runs without an end.
    - `data`: the file's own bytes, where a dataset of one's own carries them.
    """

    id: str
    kind: Kind
    path: str = ""
    start: int = -1
    size: int = -1
    number: int = 0
    name: str = ""
    note: str = ""
    tries: int = 0
    data: bytes | None = None

    @property
    def label(self) -> str:
        """How errors and the index call its input."""
        if self.kind == "seed":
            return f"seed {self.number}"
        return f"{self.path}/{self.name}" if self.start >= 0 else self.path or self.name

    def read(self) -> bytes:
        """Return the bytes of its file. Raises `InvalidInputError` where an archive ends before them, `OSError`."""
        if self.data is not None:
            return self.data
        with open(self.path, "rb") as stream:
            if self.start < 0:
                return stream.read()
            stream.seek(self.start)
            found = stream.read(self.size)
        if len(found) != self.size:
            raise InvalidInputError(f"{self.path} ends within {self.name}")
        return found

    def latent(self) -> NDArray[np.floating[Any]]:
        """Return the latent of a parquet row as it stands there: flat, or nested as `[num_ws, w_dim]`."""
        group, row = divmod(self.number, ROW_GROUP)
        values = _row_group(self.path, os.stat(self.path).st_mtime_ns, group)[row].as_py()
        try:
            return np.asarray(values, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"row {row} of group {group} holds no list of numbers") from error

    def stamp(self) -> tuple[int, int]:
        """Return size and time (ns) of its file, by which a change is suspected; (-1, -1) where it has none."""
        try:
            found = os.stat(self.path) if self.path else None
        except OSError:
            found = None
        return (-1, -1) if found is None else (found.st_size, found.st_mtime_ns)

    def digest(self) -> str:
        """Return the sha256 of what it is made of, 64 hexadecimal digits. Raises `OSError`."""
        if self.kind in ("seed", "unreadable"):
            return hashlib.sha256(f"{self.kind} {self.number} {self.note}".encode()).hexdigest()
        if self.kind == "row":
            return hashlib.sha256(self.latent().tobytes()).hexdigest()
        if self.kind == "latents" and self.data is None and self.start < 0:
            return _file_digest(self.path, *self.stamp())
        return hashlib.sha256(self.read()).hexdigest()


@functools.lru_cache(maxsize=2)
def _file_digest(path: str, size: int, changed: int) -> str:
    """The sha256 of a file of latents; neighbouring samples ask for the same one."""
    return sha256_file(path)


@functools.lru_cache(maxsize=2)
def _row_group(path: str, changed: int, group: int) -> Any:
    """The latents of one row group; neighbouring samples ask for the same one."""
    import pyarrow.parquet as parquet

    return parquet.ParquetFile(path).read_row_group(group, columns=["ws"]).column("ws")


def check_id(text: Any) -> str:
    """Return an id that can name files below a folder. Raises `InvalidInputError`."""
    parts = str(text).split("/")
    if (
        not isinstance(text, str)
        or not 0 < len(text) <= _MAX_ID
        or any(part in ("", ".", "..") or part.startswith(".deltafast-") for part in parts)
        or "\\" in text
        or "\0" in text
    ):
        raise InvalidInputError(
            f"an id names files: relative, without .. and \\, up to {_MAX_ID} letters; not {text!r}"
        )
    return text


def table_of_samples(samples: Sequence[Sample]) -> Any:
    """Return samples as an Arrow table, one column for each field but `data`."""
    import pyarrow as pa

    names = [field.name for field in fields(Sample) if field.name != "data"]
    kinds = {name: pa.int64() if name in ("start", "size", "number", "tries") else pa.string() for name in names}
    columns = {name: pa.array([getattr(one, name) for one in samples], kinds[name]) for name in names}
    return pa.table(columns)


def samples_of_columns(columns: Mapping[str, Sequence[Any]]) -> list[Sample]:
    """Return the samples of a batch: the columns of `table_of_samples`, or `id` with one of `path`, `seed`, `bytes`.

    `bytes` need `name`, whose suffix says what they are. Raises `InvalidInputError` for other columns.
    """
    known = {field.name for field in fields(Sample)}
    if "id" not in columns:
        raise InvalidInputError(f"a batch needs the column id; it has {', '.join(columns) or 'none'}")
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if "kind" in columns:
        return [Sample(**{name: _plain(value) for name, value in row.items() if name in known}) for row in rows]
    return [_own(row) for row in rows]


def _own(row: dict[str, Any]) -> Sample:
    sample = Sample(check_id(_plain(row["id"])), "photo")
    if row.get("seed") is not None:
        return replace(sample, kind="seed", number=int(row["seed"]))
    if row.get("bytes") is not None:
        name = str(row.get("name") or "")
        return replace(sample, kind=_kind(name), name=Path(name).name, data=bytes(row["bytes"]))
    if row.get("path") is not None:
        path = str(row["path"])
        return replace(sample, kind=_kind(path), path=path, name=Path(path).name)
    raise InvalidInputError("a batch needs beside the column id one of path, seed, or bytes with name")


def _kind(name: str) -> Kind:
    return "photo" if Path(name).suffix.lower() in IMAGE_SUFFIXES else "latents"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
