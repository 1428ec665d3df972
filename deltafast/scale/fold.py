"""What workers noted becomes the index: journals are sorted in parts on disk and merged, in memory of a fixed size."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deltafast.errors import DiskError
from deltafast.scale.index import index_tables, table_of_rows, writing_index
from deltafast.scale.journal import FOLDER, journals

__all__ = ["fold_journals", "merged"]

_PART = 16_384  # rows that are sorted at once
_BATCH = 1024  # rows of a part that are in memory while parts are merged
_SPILLED = "parts"  # the folder of sorted parts, beside the journals


def fold_journals(out: Path, settings: str = "") -> Counter[str]:
    """Take what workers noted over into the index; return how often samples were begun that have no row yet.

    Tries count that were made with these settings (their digest). Rows of journals replace those of the index.

    May be stopped anywhere and done again: a journal goes only after the index has its rows, and stays while it tells
    of tries without an end. Raises `DiskError`.
    """
    spilled = out / FOLDER / _SPILLED
    shutil.rmtree(spilled, ignore_errors=True)
    taken: list[Path] = []
    open_ends: dict[Path, dict[str, int]] = {}
    try:
        parts = list(_parts(out, settings, spilled, taken, open_ends))
        if parts:
            with writing_index(out) as add:
                for table in merged([index_tables(out), *(_batches(part) for part in parts)]):
                    add(table)
    finally:
        shutil.rmtree(spilled, ignore_errors=True)
    begun = {name for ends in open_ends.values() for name in ends}
    if begun:  # what has a row from elsewhere has come to an end
        for table in index_tables(out, ["id"]):
            begun.difference_update(table["id"].to_pylist())
    tries: Counter[str] = Counter()
    for path, ends in open_ends.items():
        left = {name: count for name, count in ends.items() if name in begun}
        tries.update(left)
        if not left:
            taken.append(path)
    for path in taken:
        with contextlib.suppress(OSError):
            path.unlink()
    return tries


def _parts(
    out: Path, settings: str, spilled: Path, taken: list[Path], open_ends: dict[Path, dict[str, int]]
) -> Iterator[Any]:
    """Yield the rows of all journals in sorted parts: files, but the last one, which is a table.

    Journals go on the list `taken`, but those that tell of samples begun without an end, by which they are noted in
    `open_ends`.
    """
    waiting: list[Any] = []
    for journal in journals(out, settings):
        if journal.rows:
            waiting.append(table_of_rows(list(journal.rows.values())))
        ends = {name: count for name, count in journal.tries.items() if count > 0 and name not in journal.rows}
        if ends:
            open_ends[journal.path] = ends
        else:
            taken.append(journal.path)
        if sum(table.num_rows for table in waiting) >= _PART:
            yield _spill(_sorted(waiting), spilled)
            waiting = []
    if waiting:
        yield _sorted(waiting)


def _spill(table: Any, folder: Path) -> Path:
    """Write a sorted part in batches that can be read one by one. Raises `DiskError`."""
    import pyarrow as pa

    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{len(list(folder.iterdir())):06d}.arrow"
        with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table, max_chunksize=_BATCH)
    except OSError as error:
        raise DiskError(f"cannot write into {folder}: {error.strerror or error}") from error
    return path


def _batches(part: Any) -> Iterator[Any]:
    import pyarrow as pa

    if not isinstance(part, Path):
        yield part
        return
    with pa.OSFile(str(part), "rb") as stream, pa.ipc.open_stream(stream) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])


def merged(sources: Sequence[Iterator[Any]]) -> Iterator[Any]:
    """Yield sorted tables, each id once, of sources that yield such tables; a later source's row replaces an earlier's.

    Of each source one table is in memory.
    """
    heads: dict[int, Any] = {}
    left = dict(enumerate(sources))
    while True:
        for number, source in list(left.items()):
            while number not in heads:
                table = next(source, None)
                if table is None:
                    del left[number]
                    break
                if table.num_rows:
                    heads[number] = table
        if not heads:
            return
        bound = min(table["id"][-1].as_py() for table in heads.values())
        parts = []
        for number in sorted(heads):
            table = heads.pop(number)
            count = _up_to(table, bound)
            parts.append(table.slice(0, count))
            if count < table.num_rows:
                heads[number] = table.slice(count)
        yield parts[0] if len(parts) == 1 else _sorted(parts)


def _up_to(table: Any, bound: str) -> int:
    """How many ids of a sorted table are not behind `bound`."""
    import pyarrow.compute as compute

    return int(compute.sum(compute.less_equal(table["id"], bound)).as_py() or 0)


def _sorted(tables: Sequence[Any]) -> Any:
    """Rows of several tables by id, each id once: the last one."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as compute

    table = pa.concat_tables(tables).combine_chunks()
    keys = pa.table({"id": table["id"], "place": np.arange(table.num_rows)})
    order = compute.sort_indices(keys, sort_keys=[("id", "ascending"), ("place", "ascending")])
    ids = table["id"].take(order).to_pylist()
    last = [number for number, name in enumerate(ids) if number + 1 == len(ids) or ids[number + 1] != name]
    return table.take(order.take(pa.array(last, pa.int64())))
