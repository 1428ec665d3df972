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

__all__ = ["Extent", "Kept", "close_gaps", "drop_rows", "look_through", "shard_ends"]

_MOVED = 50_000  # files whose places are in memory at once


@dataclass
class Extent:
    """What files with a row take of a shard: the byte behind the last one, bytes in all, how many there are."""

    end: int = 0
    taken: int = 0
    count: int = 0

    def add(self, file: Mapping[str, Any]) -> None:
        """Count a file in, by its entry in the index."""
        self.end = max(self.end, end_in_shard(file))
        self.taken += taken_in_shard(file)
        self.count += 1


@dataclass
class Kept:
    """What of a run's samples is done already, by id.

    - `done`: samples with a row and its bytes, made of this input with these settings.
    - `dropped`: rows that leave the index: without bytes, to be tried again, or of samples that are made anew.
    - `stray`: files of dropped rows whose input was another one; its results may have other names.
    - `others`: how many rows are of other settings.
    - `shards`: what the rows that stay take of each shard.
    """

    done: set[str] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    stray: list[str] = field(default_factory=list)
    others: int = 0
    shards: dict[str, Extent] = field(default_factory=dict)


def look_through(out: Path, samples: Mapping[str, Sample], settings: str, *, retry: bool) -> Kept:
    """Hold the index below `out` against a run's samples (by id) and the digest of its settings; change nothing."""
    kept = Kept()
    columns = ["id", "input", "input_sha256", "input_size", "input_time", "settings", "error", "files"]
    for row in index_rows(out, columns):
        name, sample = row["id"], samples.get(row["id"])
        kept.others += row["settings"] != settings
        if not has_bytes(out, row["files"]) or (retry and row["error"] is not None):
            kept.dropped.add(name)
            continue
        if sample is not None:
            same = _is_of(row, sample)  # another photo of that name may show fewer faces
            if not same or row["settings"] != settings:
                kept.dropped.add(name)
                if not same:
                    kept.stray += [file["name"] for file in row["files"] if not file["shard"]]
                continue
            kept.done.add(name)
        for file in row["files"]:
            if file["shard"]:
                kept.shards.setdefault(file["shard"], Extent()).add(file)
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


def close_gaps(out: Path, shards: Mapping[str, Extent]) -> dict[str, int]:
    """Leave nothing in shards beside files with a row, so that who reads the shards meets each sample once.

    `shards` are what these files take, by the shard's name. What lies with results that have no row any more moves to a
    new shard, and the index is written anew; `seal_shards`, given what this returns (as `shard_ends` does), then
    removes the old one. May be stopped anywhere. Raises `DiskError`.
    """
    gappy = [name for name, extent in shards.items() if extent.taken != extent.end]
    if not gappy:
        return {name: extent.end for name, extent in shards.items()}
    while gappy:
        some = [gappy.pop()]
        while gappy and sum(shards[name].count for name in some) + shards[gappy[-1]].count <= _MOVED:
            some.append(gappy.pop())
        _move(out, some)
    return shard_ends(out)


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
