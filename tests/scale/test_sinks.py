"""Shards and index: what has a row can be read from both, what has none is cut off, torn notes count for nothing."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest
from small_jobs import TextJob, seeds

from deltafast.errors import InvalidInputError, WorkerError
from deltafast.scale.fold import fold_journals
from deltafast.scale.index import INDEX, index_rows, read_index
from deltafast.scale.journal import Journal, Place, await_workers
from deltafast.scale.kept import shard_ends
from deltafast.scale.samples import table_of_samples
from deltafast.scale.sinks import has_bytes, member_name, seal_shards
from deltafast.scale.sources import find_samples
from deltafast.scale.worker import FaceWorker


def _work(folder: Path, *names: str) -> None:
    FaceWorker(TextJob(folder), folder, per_shard=3)(table_of_samples(seeds(*names)))


def test_shards_end_behind_their_last_row_and_hold_each_sample_once(tmp_path: Path) -> None:
    _work(tmp_path, "a", "b.c/d.e", "bad", "f", "g", "h")
    first, second = sorted((tmp_path / "shards").glob("*.tar"), key=lambda path: path.stat().st_mtime_ns)
    with open(second, "ab") as stream:
        stream.write(b"torn" * 400)  # of a worker that was killed while it wrote
    (tmp_path / "shards" / "orphan.tar").write_bytes(b"x" * 700)
    fold_journals(tmp_path)
    rows = {row["id"]: row for row in index_rows(tmp_path)}
    for _ in range(2):
        seal_shards(tmp_path, shard_ends(tmp_path))
        names = []
        for path in (first, second):
            with tarfile.open(path, "r:", ignore_zeros=False) as archive:
                names += archive.getnames()
            assert path.read_bytes().endswith(bytes(1024))
        assert sorted(names) == ["a.txt", "b.c/d%2Ee.txt", "f.txt", "g.txt", "h.txt"]
    assert not (tmp_path / "shards" / "orphan.tar").exists()
    (file,) = rows["b.c/d.e"]["files"]
    data = (tmp_path / file["shard"]).read_bytes()[file["start"] :][: file["size"]]
    assert data == b"b.c/d.e"
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    assert has_bytes(tmp_path, rows["h"]["files"])
    second.write_bytes(second.read_bytes()[:600])
    assert not has_bytes(tmp_path, rows["h"]["files"])


def test_a_shard_that_is_written_is_left_alone(tmp_path: Path) -> None:
    worker = FaceWorker(TextJob(tmp_path), tmp_path, per_shard=10)
    worker(table_of_samples(seeds("a")))
    (path,) = (tmp_path / "shards").glob("*.tar")
    before = path.read_bytes()
    seal_shards(tmp_path, {}, wait=0.0)
    assert path.read_bytes() == before


def test_a_later_run_waits_for_a_batch_and_lets_no_other_begin(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.held():
        assert not await_workers(tmp_path, 0.2)
    worker = FaceWorker(TextJob(tmp_path), tmp_path)
    worker(table_of_samples(seeds("a")))
    assert await_workers(tmp_path, 0.0)
    for run in (lambda: worker(table_of_samples(seeds("b"))), lambda: place.held().__enter__()):
        with pytest.raises(WorkerError, match="a later run works in"):
            run()
    assert not (tmp_path / "b.txt").exists()


def test_files_of_one_sample_share_the_key_that_webdataset_reads() -> None:
    assert member_name("seed0001", Path("seed0001_+1.5.png")) == "seed0001.+1.5.png"
    assert member_name("a/b.c", Path("b.c-sheet.png")) == "a/b%2Ec.sheet.png"
    assert member_name("a", Path("a.safetensors")) == "a.safetensors"


def test_torn_notes_and_a_foreign_index_are_told_from_good_ones(tmp_path: Path) -> None:
    _work(tmp_path, "a", "b")
    journal = Journal.of(tmp_path, ["a", "b"])
    with open(journal.path, "ab") as stream:
        stream.write(b'\n{"row": {"id": "c", "fi')
    assert set(Journal.of(tmp_path, ["a", "b"]).rows) == {"a", "b"}
    fold_journals(tmp_path)
    assert not journal.path.exists()
    assert read_index(tmp_path)["id"].to_pylist() == ["a", "b"]
    (tmp_path / INDEX).write_bytes(b"PAR1")
    with pytest.raises(InvalidInputError, match=r"index\.parquet cannot be read"):
        list(index_rows(tmp_path))


def test_written_shards_are_read_again(tmp_path: Path) -> None:
    _work(tmp_path, "a")
    fold_journals(tmp_path)
    seal_shards(tmp_path, shard_ends(tmp_path))
    with pytest.raises(InvalidInputError, match="holds nothing that can be worked on"):
        find_samples(next((tmp_path / "shards").glob("*.tar")), tmp_path / "out")
