"""A folder that is given again: what of it is kept, what is made anew and said, and that shards hold nothing twice."""

from __future__ import annotations

import contextlib
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from small_jobs import TextJob, seeds

from deltafast.errors import InvalidInputError, ResumeError
from deltafast.files import lock_file
from deltafast.scale import run as module
from deltafast.scale.index import index_rows, read_index
from deltafast.scale.jobs import Job
from deltafast.scale.run import RayOptions, run_job
from deltafast.scale.samples import Sample, table_of_samples
from deltafast.scale.worker import FaceWorker


@pytest.fixture(autouse=True)
def _one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of Ray one worker, in this process."""

    def work(ray: Any, job: Job, todo: Sequence[Sample], out: Path, options: RayOptions, settings: str) -> list[str]:
        worker = FaceWorker(job, out, per_shard=options.per_shard, settings=settings)
        return list(worker(table_of_samples(todo))["id"].to_pylist())

    monkeypatch.setattr(module, "ray_session", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(module, "_work", work)


def _run(
    job: Job, samples: Sequence[Sample], out: Path, settings: dict[str, Any], options: RayOptions
) -> dict[str, dict[str, Any]]:
    """The rows of these samples, by id, when the job is done."""
    run_job(job, samples, out, settings, options)
    rows = {row["id"]: row for row in index_rows(out)}
    return {sample.id: rows[sample.id] for sample in samples}


def _made(folder: Path) -> list[str]:
    text = (folder / "made").read_text()
    (folder / "made").write_text("")
    return text.split()


def _members(out: Path) -> list[str]:
    names: list[str] = []
    for path in (out / "shards").glob("*.tar"):
        with tarfile.open(path, "r:") as archive:
            names += archive.getnames()
    return sorted(names)


def _texts(out: Path, rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    found = {}
    for name, row in rows.items():
        (file,) = row["files"]
        found[name] = (out / file["shard"]).read_bytes()[file["start"] :][: file["size"]].decode()
    return found


def test_other_settings_make_the_inputs_of_this_run_anew_and_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, job = tmp_path / "out", TextJob(tmp_path)
    long = "x" * 120  # a name that takes more than one block of a shard
    names = ["a", "b", "c", long]
    first, second = ({"command": "test", "alpha": alpha} for alpha in (1, 2))
    options = RayOptions(per_shard=3)
    every = seeds(*names)
    some = [every[1], Sample("d", "seed", number=9)]
    before = _run(job, every, out, first, options)
    assert _made(tmp_path) == names
    assert _run(job, every, out, first, options) == before
    assert _made(tmp_path) == []
    assert capsys.readouterr().err == ""

    rows = _run(job, some, out, second, options)
    assert _made(tmp_path) == ["b", "d"]
    said = "were made with other settings (alpha): those of this run's inputs are made anew"
    assert capsys.readouterr().err == f"deltafast: 4 finished outputs in {out} {said}\n"
    assert _members(out) == sorted(f"{name}.txt" for name in (*names, "d"))  # of the old shard a and c have moved
    index = {row["id"]: row for row in read_index(out).to_pylist()}
    assert _texts(out, index) == {name: name for name in (*names, "d")}
    assert index["a"]["settings"] == before["a"]["settings"] != rows["b"]["settings"]
    shards = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    assert _run(job, some, out, second, options) == rows
    assert {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()} == shards

    run_job(job, every, out, second, options)
    assert _made(tmp_path) == ["a", "c", long]
    capsys.readouterr()
    with pytest.raises(ResumeError, match="holds what `deltafast test` made"):
        run_job(job, seeds("a"), out, {**second, "command": "other"}, options)


def test_another_input_of_the_same_name_leaves_nothing_of_the_first(tmp_path: Path) -> None:
    source = tmp_path / "photo.txt"
    source.write_text("3")
    samples = [Sample("p", "photo", str(source), name="photo.txt")]
    run_job(TextJob(tmp_path), samples, tmp_path / "out", {})
    assert (tmp_path / "out" / "p-2.txt").exists()
    os.utime(source, ns=(0, 0))  # another time, the same bytes
    run_job(TextJob(tmp_path), samples, tmp_path / "out", {})
    assert _made(tmp_path) == ["p"]
    source.write_text("2")
    run_job(TextJob(tmp_path), samples, tmp_path / "out", {})
    assert _made(tmp_path) == ["p"]
    assert (tmp_path / "out" / "p-1.txt").exists()
    assert not (tmp_path / "out" / "p-2.txt").exists()


def test_tries_made_with_other_settings_do_not_count(tmp_path: Path) -> None:
    from deltafast.scale.fold import fold_journals
    from deltafast.scale.journal import Journal

    Journal.of(tmp_path, ["a"], settings="one").begin(["a"])
    assert fold_journals(tmp_path, "one") == {"a": 1}
    assert fold_journals(tmp_path, "two") == {}
    assert fold_journals(tmp_path, "one") == {}  # it is gone


def test_an_error_is_kept_until_it_is_to_be_tried_again(tmp_path: Path) -> None:
    for retry, made in ((False, ["bad"]), (False, []), (True, ["bad"])):
        rows = _run(TextJob(tmp_path), seeds("bad"), tmp_path / "out", {}, RayOptions(retry=retry))
        assert rows["bad"]["error"] == "it is bad"
        assert _made(tmp_path) == made


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("address", ""),
        ("workers", 0),
        ("threads", None),
        ("threads", True),
        ("gpus", -1.0),
        ("gpus", 1.5),
        ("gpus", float("nan")),
        ("per_shard", -1),
        ("timeout", 0.0),
        ("timeout", float("inf")),
        ("timeout", "60"),
        ("tries", 1.0),
    ],
)
def test_options_that_no_run_can_have_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"^{name} must be "):
        RayOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("names", "told"), [(("a", "b", "a"), "two samples are called a"), (("../a",), "id names")])
def test_ids_that_cannot_be_told_apart_or_leave_the_folder_are_refused(
    tmp_path: Path, names: Sequence[str], told: str
) -> None:
    with pytest.raises(InvalidInputError, match=told):
        run_job(TextJob(tmp_path), seeds(*names), tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    lock_file(handle)
    with pytest.raises(ResumeError, match="another run is at work"):
        run_job(TextJob(tmp_path), seeds("a"), tmp_path, {})
    os.close(handle)
