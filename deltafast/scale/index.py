"""The index of a run, `OUT/index.parquet`: one row for each sample, of what became of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from deltafast.errors import InvalidInputError
from deltafast.files import atomic_write
from deltafast.untrusted.checks import reading

__all__ = ["INDEX", "index_rows", "index_tables", "read_index", "schema", "table_of_rows", "writing_index"]

INDEX = "index.parquet"
_BATCH = 1024  # rows read at once
_GROUP = 16_384  # rows of a row group
_BUFFER = 1 << 16  # bytes of a column read at once


def schema() -> Any:
    """Return the columns of the index as an Arrow schema.

    - `id`; `input`: its file, or "seed 17"; `input_sha256`, `input_size`, `input_time` (ns) of it.
    - `done`: what was done; `settings`: the digest of what it was done with; `faces`: how many were found.
    - `before`, `after`: with by or to, the reading of each attribute in its unit, of each face and amount.
    - `fit`: of a projection, the figures of `FitReport`.
    - `warnings`; `error`: why nothing was made of it, null where something was; `tries`: how often it was begun.
    - `files`: its results, each with name, size, sha256 and, in a shard, the shard and the byte at which it begins.
    """
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    readings = pa.map_(text, pa.list_(number))
    names = ("w_distance", "descriptor_distance", "descriptor_cosine", "landmark_error")
    fit = pa.struct([*((name, number) for name in names), ("face_found", pa.bool_())])
    file = pa.struct([("name", text), ("shard", text), ("start", pa.int64()), ("size", pa.int64()), ("sha256", text)])
    return pa.schema(
        [
            ("id", text),
            ("input", text),
            ("input_sha256", text),
            ("input_size", pa.int64()),
            ("input_time", pa.int64()),
            ("done", text),
            ("settings", text),
            ("faces", pa.int32()),
            ("before", readings),
            ("after", readings),
            ("fit", fit),
            ("warnings", pa.list_(text)),
            ("error", text),
            ("tries", pa.int32()),
            ("files", pa.list_(file)),
        ]
    )


def table_of_rows(rows: Sequence[dict[str, Any]]) -> Any:
    """Return rows (JSON values by column, readings as dictionaries) as an Arrow table of `schema()`."""
    import pyarrow as pa

    maps = ("before", "after")
    plain = [{**row, **{name: list((row.get(name) or {}).items()) for name in maps}} for row in rows]
    return pa.Table.from_pylist(plain, schema=schema())


def read_index(out: str | os.PathLike[str]) -> Any:
    """Return the index of a folder of results as an Arrow table; see `schema` for its columns.

    While a run is under way its last rows are not in there yet. Raises `InvalidInputError` where it cannot be read.
    """
    import pyarrow.parquet as parquet

    path = Path(out) / INDEX
    with _reading(path):
        table = parquet.read_table(path)
        _check_columns(path, table.schema.names)
        return table


def index_tables(out: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield an index as Arrow tables of about a thousand rows, of all columns or these; nothing where there is none.

    Rows come in the order of their ids, and no more than a row group of them is in memory at once. Raises
    `InvalidInputError` where it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path = out / INDEX
    if not path.exists():
        return
    with _reading(path), parquet.ParquetFile(path, buffer_size=_BUFFER) as file:
        _check_columns(path, file.schema_arrow.names)
        for batch in file.iter_batches(_BATCH, columns=columns, use_threads=False):
            yield pa.Table.from_batches([batch])


def index_rows(out: str | os.PathLike[str], columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of an index, of all columns or these, by and by; readings are dictionaries.

    So an index of any size can be gone through, as `read_index` brings all of it into memory. Raises
    `InvalidInputError` where it cannot be read.
    """
    for table in index_tables(Path(out), columns):
        yield from table.to_pylist(maps_as_pydicts="strict")


@contextlib.contextmanager
def writing_index(out: Path) -> Iterator[Callable[[Any], None]]:
    """Yield a function that takes tables, sorted by id from one to the next, which are the index when the block ends.

    The index is the old one until then. Raises `DiskError`.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    kept: list[Any] = []

    def write(writer: Any) -> None:
        if kept:
            writer.write_table(pa.concat_tables(kept), row_group_size=_GROUP)
            kept.clear()

    with atomic_write(out / INDEX) as temporary, parquet.ParquetWriter(temporary, schema()) as writer:

        def add(table: Any) -> None:
            kept.append(table)
            if sum(one.num_rows for one in kept) >= _GROUP:
                write(writer)

        yield add
        write(writer)


def _reading(path: Path) -> contextlib.AbstractContextManager[None]:
    return reading(lambda reason: InvalidInputError(f"{path} cannot be read: {reason}"))


def _check_columns(path: Path, names: Sequence[str]) -> None:
    if list(names) != schema().names:
        raise InvalidInputError(f"{path} is no index of this release; choose another folder or delete it")
