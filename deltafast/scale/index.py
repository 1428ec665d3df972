"""The index of a run, `OUT/index.parquet`: one row for each sample, of what became of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deltafast.errors import InvalidInputError
from deltafast.files import atomic_write
from deltafast.scale.journal import journals
from deltafast.untrusted.checks import reading

__all__ = ["INDEX", "fold_journals", "read_index", "rows_of_index", "schema", "table_of_rows"]

INDEX = "index.parquet"


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
    with reading(lambda reason: InvalidInputError(f"{path} cannot be read: {reason}")):
        table = parquet.read_table(path)
        if table.schema.names != schema().names:
            raise InvalidInputError(f"{path} is no index of this release; choose another folder or delete it")
        return table


def rows_of_index(out: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of an index by id; empty where there is none."""
    if not (out / INDEX).exists():
        return {}
    rows = read_index(out).to_pylist(maps_as_pydicts="strict")
    return {row["id"]: row for row in rows}


def fold_journals(out: Path, settings: str = "") -> tuple[dict[str, dict[str, Any]], Counter[str]]:
    """Take what workers noted over into the index; return its rows by id, and how often others were begun in vain.

    Tries count that were made with these settings (their digest).

    May be stopped anywhere and done again: a journal goes only after the index has its rows, and stays while it tells
    of tries without an end. Raises `DiskError`.
    """
    rows = rows_of_index(out)
    tries: Counter[str] = Counter()
    found = list(journals(out, settings))
    for journal in found:
        rows.update(journal.rows)
    if found:
        write_index(out, rows)
        rows = rows_of_index(out)  # as every later call reads them
    for journal in found:
        open_ends = {name: count for name, count in journal.tries.items() if count > 0 and name not in rows}
        tries.update(open_ends)
        if not open_ends:
            journal.remove()
    return rows, tries


def write_index(out: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Write the index, sorted by id, atomically. Raises `DiskError`."""
    import pyarrow.parquet as parquet

    table = table_of_rows([rows[name] for name in sorted(rows)])
    with atomic_write(out / INDEX) as temporary:
        parquet.write_table(table, temporary)
