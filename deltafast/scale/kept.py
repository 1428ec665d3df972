"""What an earlier run left: which samples are done, which rows go, and shards without gaps between them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deltafast.errors import DeltafastError
from deltafast.scale.index import index_rows, index_tables, table_of_rows, writing_index
from deltafast.scale.samples import Sample
from deltafast.scale.sinks import SHARDS, copy_members, end_in_shard, has_bytes, taken_in_shard

__all__ = ["Kept", "close_gaps", "drop_rows", "look_through", "shard_ends"]

_MOVED = 50_000  # files whose places are in memory at once


@dataclass
class Kept:
    """What of a run's samples is done already, by id.

    - `done`: samples with a row and its bytes, made of this input with these settings.
    - `dropped`: rows that leave the index: without bytes, to be tried again, or of samples that are made anew.
    - `stray`: files of dropped rows whose input was another one; its results may have other names.
    - `others`: how many rows are of other settings.
    """

    done: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    stray: list[str] = field(default_factory=list)
    others: int = 0


def look_through(out: Path, samples: Mapping[str, Sample], settings: str, *, retry: bool) -> Kept:
    """Hold the index below `out` against a run's samples (by id) and the digest of its settings; change nothing."""
    kept = Kept()
    columns = ["id", "input", "input_sha256", "input_size", "input_time", "settings", "error", "files"]
    for row in index_rows(out, columns):
        name, sample = row["id"], samples.get(row["id"])
        kept.others += row["settings"] != settings
        if not has_bytes(out, row["files"]) or (retry and row["error"] is not None):
            kept.dropped.add(name)
        elif sample is not None:
            same = _is_of(row, sample)  # another photo of that name may show fewer faces
            if same and row["settings"] == settings:
                kept.done.add(name)
                continue
            kept.dropped.add(name)
            if not same:
                kept.stray += [file["name"] for file in row["files"] if not file["shard"]]
    return kept


def _is_of(row: dict[str, Any], sample: Sample) -> bool:
    """Whether a row is of this very sample; its bytes are looked at where its file's size or time is another one."""
    if row["input"] != sample.label:
        return False
    if (row["input_size"], row["input_time"]) == sample.stamp():
        return True
    try:
        return bool(row["input_sha256"] == sample.digest())
    except (OSError, DeltafastError):
        return row["input_sha256"] is None


def drop_rows(out: Path, names: Collection[str]) -> None:
    """Write the index anew without these rows; an empty one where there was none. Raises `DiskError`."""
    if not names and next(index_tables(out, ["id"]), None) is not None:
        return
    with writing_index(out) as add:
        for table in index_tables(out):
            add(table.filter([name not in names for name in table["id"].to_pylist()]))


def shard_ends(out: Path) -> dict[str, int]:
    """Return for each shard, by its name below `out`, the byte behind its last file with a row."""
    ends: dict[str, int] = {}
    for file in _members(out):
        ends[file["shard"]] = max(ends.get(file["shard"], 0), end_in_shard(file))
    return ends


def close_gaps(out: Path) -> None:
    """Leave nothing in shards beside files with a row, so that who reads the shards meets each sample once.

    What lies with results that have no row any more moves to a new shard, and the index is written anew; `seal_shards`
    then removes the old one. May be stopped anywhere. Raises `DiskError`.
    """
    ends: dict[str, int] = {}
    taken: dict[str, int] = {}
    counts: dict[str, int] = {}
    for file in _members(out):
        shard = file["shard"]
        ends[shard] = max(ends.get(shard, 0), end_in_shard(file))
        taken[shard] = taken.get(shard, 0) + taken_in_shard(file)
        counts[shard] = counts.get(shard, 0) + 1
    gappy = [shard for shard in ends if taken[shard] != ends[shard]]
    while gappy:
        some = [gappy.pop()]
        while gappy and sum(counts[shard] for shard in some) + counts[gappy[-1]] <= _MOVED:
            some.append(gappy.pop())
        _move(out, some)


def _move(out: Path, shards: Collection[str]) -> None:
    """Copy what has a row in these shards to new ones, and write the index anew."""
    held: dict[str, list[dict[str, Any]]] = {shard: [] for shard in shards}
    for file in _members(out):
        if file["shard"] in held:
            held[file["shard"]].append(file)
    moved: dict[tuple[str, int], dict[str, Any]] = {}
    for shard, files in held.items():
        files.sort(key=lambda file: int(file["start"]))
        entries = copy_members(out, shard, files)
        moved.update({(shard, file["start"]): entry for file, entry in zip(files, entries, strict=True)})
    with writing_index(out) as add:
        for table in index_tables(out):
            rows = table.to_pylist(maps_as_pydicts="strict")
            for row in rows:
                row["files"] = [moved.get((file["shard"], file["start"]), file) for file in row["files"]]
            add(table_of_rows(rows))


def _members(out: Path) -> Iterator[dict[str, Any]]:
    """The files of the index that lie in shards."""
    if not (out / SHARDS).is_dir():
        return
    for row in index_rows(out, ["files"]):
        yield from (file for file in row["files"] if file["shard"])
