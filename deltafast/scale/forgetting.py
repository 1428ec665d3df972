"""What a run on many machines made of some samples leaves its folder: rows, files, and members of shards."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from deltafast.errors import DiskError, InvalidInputError, ResumeError
from deltafast.files import alone_in, remove_leftovers
from deltafast.runs import remove_results
from deltafast.scale.fold import fold_journals
from deltafast.scale.index import index_rows
from deltafast.scale.journal import await_workers
from deltafast.scale.kept import Extent, close_gaps, drop_rows
from deltafast.scale.sinks import seal_shards

__all__ = ["forget_samples", "sample_ids"]

_PATIENCE = 10.0  # seconds for workers to end whose driver has


def sample_ids(out: str | os.PathLike[str]) -> set[str]:
    """Return the ids of the samples that the folder `out` has rows of. Raises `InvalidInputError`, `DiskError`.

    `ResumeError` where a run is at work in it: what its workers noted is taken over into the index first.
    """
    out = Path(out).absolute()
    with alone_in(out):
        _take_over(out)
        return {row["id"] for row in index_rows(out, ["id"])}


def forget_samples(out: str | os.PathLike[str], names: Iterable[str] | None = None) -> tuple[int, int]:
    """Remove what `run_job` made of the samples called `names` (ids), of all where None.

    Returns how many rows are gone, and how many files or members of shards. A shard that held some of them is written
    anew without them and the old one removed; it may be stopped anywhere and called again. Raises `InvalidInputError`
    where the folder has no row of such a name, `ResumeError` where a run is at work in it, `DiskError` where something
    cannot be written, or a file is still there in the end.
    """
    out = Path(out).absolute()
    with alone_in(out):
        _take_over(out)
        wanted = None if names is None else {*names}
        gone: set[str] = set()
        files: list[str] = []
        members = 0
        stay: dict[str, Extent] = {}  # by shard
        for row in index_rows(out, ["id", "files"]):
            if wanted is not None and row["id"] not in wanted:
                for file in row["files"]:
                    if file["shard"]:
                        stay.setdefault(file["shard"], Extent()).add(file)
                continue
            gone.add(row["id"])
            files += [file["name"] for file in row["files"] if not file["shard"]]
            members += sum(bool(file["shard"]) for file in row["files"])
        unknown = sorted((wanted or gone) - gone)
        if unknown:
            raise InvalidInputError(f"{out} has no row of {unknown[0]!r}; the names are the ids of its index.parquet")
        remove_results(out, files)  # before their rows, which are needed to find them again
        left = [file for file in files if (out / file).exists()]
        if left:
            raise DiskError(f"cannot remove {out / left[0]}; {len(left)} files are still there, and so are all rows")
        drop_rows(out, gone)
        seal_shards(out, close_gaps(out, stay))
        return len(gone), len(files) + members


def _take_over(out: Path) -> None:
    if not await_workers(out, _PATIENCE):
        raise ResumeError(f"workers of an earlier run still write into {out}: let them end, then run this again")
    remove_leftovers(out)
    fold_journals(out)
