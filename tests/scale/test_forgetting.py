"""What a run with --ray made of a photo can be taken out of its folder: rows, files, members of shards, and no others.

Workers are called here as Ray calls them, so that no Ray is needed.
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import pytest
from small_jobs import TextJob, seeds
from typer.testing import CliRunner

from deltafast import files
from deltafast.cli import app
from deltafast.errors import InvalidInputError, ResumeError
from deltafast.runs import Run
from deltafast.scale.fold import fold_journals
from deltafast.scale.forgetting import forget_samples
from deltafast.scale.index import index_rows
from deltafast.scale.kept import shard_ends
from deltafast.scale.samples import table_of_samples
from deltafast.scale.sinks import seal_shards
from deltafast.scale.worker import FaceWorker

_NAMES = ("a", "b", "c/d", "e")


def _run(folder: Path, per_shard: int) -> Path:
    """A finished run's folder, its last rows still in a journal."""
    out = folder / "out"
    worker = FaceWorker(TextJob(folder), out, per_shard=per_shard)
    worker(table_of_samples(seeds(*_NAMES[:3])))
    fold_journals(out)
    worker(table_of_samples(seeds(*_NAMES[3:])))
    del worker
    if per_shard:
        fold_journals(out)
        seal_shards(out, shard_ends(out))
    return out


def _members(out: Path) -> dict[str, str]:
    """All that lies in the shards of a folder, by name."""
    found = {}
    for path in (out / "shards").glob("*.tar"):
        with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                assert stream is not None
                found[member.name] = stream.read().decode()
    return found


def test_files_and_rows_of_a_named_sample_go_and_all_others_stay(tmp_path: Path) -> None:
    out = _run(tmp_path, per_shard=0)
    assert forget_samples(out, ["c/d", "e"]) == (2, 2)
    assert [row["id"] for row in index_rows(out)] == ["a", "b"]
    assert sorted(path.name for path in out.rglob("*.txt")) == ["a.txt", "b.txt"]
    with pytest.raises(InvalidInputError, match="no row of 'e'"):
        forget_samples(out, ["a", "e"])
    assert (out / "a.txt").exists()


@pytest.mark.parametrize("per_shard", [1, 3])
def test_a_shard_is_written_anew_without_the_sample(tmp_path: Path, per_shard: int) -> None:
    out = _run(tmp_path, per_shard)
    assert forget_samples(out, ["a"]) == (1, 1)
    assert _members(out) == {"b.txt": "b", "c/d.txt": "c/d", "e.txt": "e"}
    assert b"a.txt" not in b"".join(path.read_bytes() for path in (out / "shards").iterdir())
    for row in index_rows(out):
        (file,) = row["files"]
        with open(out / file["shard"], "rb") as stream:
            stream.seek(file["start"])
            assert stream.read(file["size"]).decode() == row["id"]
    assert forget_samples(out) == (3, 3)
    assert not _members(out)
    assert not list(index_rows(out))


def test_the_command_forgets_in_the_index_and_in_the_ledger(tmp_path: Path) -> None:
    out = _run(tmp_path, per_shard=0)
    run = Run(out, "edit", {})  # the same folder, gone on with without --ray
    (out / "z.png").write_bytes(b"face")
    run.finish("z", {"size": 1}, [out / "z.png"])
    del run

    def said(*names: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["forget", str(out), *names])
        return done.exit_code, done.output + str(done.exception or "")

    assert "no row of 'y'" in said("a", "y")[1]
    assert (out / "a.txt").exists()
    code, text = said("a", "z")
    assert (code, "2 files and 1 row of index.parquet removed" in text) == (0, True)
    assert not (out / "a.txt").exists()
    assert not (out / "z.png").exists()
    assert "3 files and 3 rows" in said()[1]


def test_a_run_at_work_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = _run(tmp_path, per_shard=0)
    monkeypatch.setattr(files, "hold_folder", lambda folder: None)
    with pytest.raises(ResumeError, match="at work"):
        forget_samples(out, ["a"])
    assert (out / "a.txt").exists()


def test_without_pyarrow_the_command_says_what_it_cannot_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _run(tmp_path, per_shard=0)
    monkeypatch.setitem(sys.modules, "deltafast.scale.forgetting", None)
    done = CliRunner().invoke(app, ["forget", str(out)])
    assert done.exit_code != 0
    assert "nothing was removed" in done.output + str(done.exception)
    assert (out / "a.txt").exists()
