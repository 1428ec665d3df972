"""What a worker does with a batch, without Ray: rows, errors of one, memory, tries that ended it, and a full disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_jobs import TextJob, seeds

from deltafast.errors import DiskError, InvalidInputError
from deltafast.scale.fold import fold_journals
from deltafast.scale.index import index_rows, read_index
from deltafast.scale.journal import journals
from deltafast.scale.samples import Sample, samples_of_columns, table_of_samples
from deltafast.scale.worker import FaceWorker

_SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from small_jobs import TextJob, seeds
from deltafast.scale.samples import table_of_samples
from deltafast.scale.worker import FaceWorker
worker = FaceWorker(TextJob(Path({folder!r})), {folder!r} + "/out", timeout=0.5)
worker(table_of_samples(seeds(*{names!r})))
"""


@pytest.fixture
def made(tmp_path: Path) -> Any:
    """What was made at once so far, one list of names for each time."""
    return lambda: [line.split() for line in (tmp_path / "made").read_text().splitlines()]


def _work(folder: Path, *names: str, **options: Any) -> dict[str, dict[str, Any]]:
    rows = FaceWorker(TextJob(folder), folder / "out", **options)(table_of_samples(seeds(*names)))
    return {row["id"]: row for row in rows.to_pylist(maps_as_pydicts="strict")}


def _work_in_a_process(folder: Path, *names: str) -> int:
    script = _SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder), names=names)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120, check=False).returncode


def test_a_batch_becomes_files_and_rows_and_is_not_made_again(tmp_path: Path, made: Any) -> None:
    rows = _work(tmp_path, "a", "b", "c/d", "e", "f")
    assert list(rows) == ["a", "b", "c/d", "e", "f"]
    assert rows["c/d"]["files"][0] | {"sha256": ""} == {
        "name": "c/d.txt", "shard": None, "start": 0, "size": 3, "sha256": "",
    }  # fmt: skip
    assert (rows["a"]["done"], rows["a"]["before"], rows["a"]["warnings"]) == ("written", {"yaw": [1.5]}, ["small"])
    assert (tmp_path / "out" / "c" / "d.txt").read_text() == "c/d"
    assert made() == [["a", "b", "c/d", "e"], ["f"]]
    assert _work(tmp_path, "a", "b", "c/d", "e", "f") == rows
    assert len(made()) == 2


def test_an_input_that_cannot_be_used_spoils_no_other(tmp_path: Path) -> None:
    rows = _work(tmp_path, "a", "bad", "c")
    assert rows["bad"]["error"] == "it is bad"
    assert rows["bad"]["files"] == []
    assert rows["a"]["error"] is None
    assert rows["c"]["files"]


def test_less_is_made_at_once_where_memory_runs_out(tmp_path: Path, made: Any) -> None:
    rows = _work(tmp_path, "a", "big", "c", "d", "e", "f")
    assert all(row["error"] is None for row in rows.values())
    assert made() == [["a", "big", "c", "d"], ["a", "big"], ["a"], ["big"], ["c", "d"], ["e"], ["f"]]


@pytest.mark.parametrize("name", ["crash", "hang"])
def test_what_ends_its_worker_is_tried_alone_and_then_given_up(tmp_path: Path, made: Any, name: str) -> None:
    codes = [_work_in_a_process(tmp_path, "a", name, "b", "c", "d") for _ in range(2)]
    assert codes == ([9, 9] if name == "crash" else [1, 0])
    if name == "hang":  # at its first try only
        assert made() == [["a", name, "b", "c"], ["d"], ["a"], [name], ["b"], ["c"]]
        return
    assert made() == [["a", name, "b", "c"], ["d"], ["a"], [name]]
    assert _work_in_a_process(tmp_path, "a", name, "b", "c", "d") == 9
    rows = _work(tmp_path, "a", name, "b", "c", "d")
    assert made().count([name]) == 2
    assert "given up after 3 tries" in rows[name]["error"]
    assert all(rows[other]["files"] for other in "abcd")


def test_tries_are_remembered_when_batches_are_others(tmp_path: Path) -> None:
    assert _work_in_a_process(tmp_path, "a", "crash", "b") == 9
    tries = fold_journals(tmp_path / "out")
    assert not list(index_rows(tmp_path / "out"))
    assert tries == {"a": 1, "crash": 1, "b": 1}
    assert fold_journals(tmp_path / "out") == tries
    again = [Sample("crash", "seed", tries=3)]
    (row,) = FaceWorker(TextJob(tmp_path), tmp_path / "out")(table_of_samples(again)).to_pylist()
    assert "given up after 3 tries" in row["error"]
    assert fold_journals(tmp_path / "out") == {"a": 1, "b": 1}
    assert [row["id"] for row in index_rows(tmp_path / "out")] == ["crash"]
    assert read_index(tmp_path / "out").num_rows == 1


def test_a_full_disk_ends_the_batch_and_what_was_done_before_stays(tmp_path: Path, made: Any) -> None:
    (tmp_path / "full").touch()
    with pytest.raises(DiskError, match="No space left"):
        _work(tmp_path, "a", "b", "c", "d", "full", per_shard=100)
    (journal,) = journals(tmp_path / "out")
    assert journal.tries["full"] == 0  # it had no part in that
    (tmp_path / "full").unlink()
    rows = _work(tmp_path, "a", "b", "c", "d", "full", per_shard=100)
    assert made() == [["a", "b", "c", "d"], ["full"], ["full"]]
    assert all(row["files"] for row in rows.values())


def test_a_dataset_of_ones_own_needs_an_id_and_one_kind_of_input(tmp_path: Path) -> None:
    (seed,) = samples_of_columns({"id": ["a"], "seed": [7]})
    assert (seed.kind, seed.number) == ("seed", 7)
    (photo,) = samples_of_columns({"id": ["a"], "bytes": [b"x"], "name": ["b.PNG"]})
    assert (photo.kind, photo.read()) == ("photo", b"x")
    with pytest.raises(InvalidInputError, match="needs beside the column id"):
        samples_of_columns({"id": ["a"]})
    with pytest.raises(InvalidInputError, match="needs the column id"):
        samples_of_columns({"path": ["a"]})
    with pytest.raises(InvalidInputError, match="an id names files"):
        samples_of_columns({"id": ["../a"], "seed": [7]})
