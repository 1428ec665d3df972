"""The index is sorted parts merged: each id once, the newest row, whatever the sizes, and in memory of a fixed size."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deltafast.scale import fold, index
from deltafast.scale.fold import fold_journals
from deltafast.scale.index import index_rows, read_index
from deltafast.scale.journal import Journal
from deltafast.scale.kept import drop_rows


def _row(name: str, done: str) -> dict[str, Any]:
    file = {"name": f"{name}.png", "shard": "shards/0.tar", "start": 512, "size": 5, "sha256": "0" * 64}
    row = {"id": name, "input": name, "tries": 1, "warnings": [], "error": None, "files": [file], "done": done}
    return {**row, "before": {"yaw": [1.0]}, "settings": "x", "fit": {"w_distance": 0.5, "face_found": True}}


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts, batches and row groups of a few rows."""
    for place, name, value in ((fold, "_PART", 7), (fold, "_BATCH", 3), (index, "_BATCH", 2), (index, "_GROUP", 5)):
        monkeypatch.setattr(place, name, value)


@pytest.mark.usefixtures("_small")
def test_rows_of_many_parts_are_sorted_and_there_once_the_newest_of_each(tmp_path: Path) -> None:
    draw = random.Random(0)
    names = [*(f"s{number:02d}" for number in range(60)), "ä", "z", "\U0001f600", "～"]  # by UTF-8 as by code points
    expected: dict[str, str] = {}
    for time in range(3):
        some = draw.sample(names, 40)
        for start in range(0, len(some), 4):
            batch = some[start : start + 4]
            Journal.of(tmp_path, batch, str(time)).finish([_row(name, f"done {time}") for name in batch])
        expected.update({name: f"done {time}" for name in some})
        assert not fold_journals(tmp_path)
        assert {row["id"]: row["done"] for row in index_rows(tmp_path)} == expected
        assert read_index(tmp_path)["id"].to_pylist() == sorted(expected)
    assert not list((tmp_path / "journal").glob("*/*"))
    (row,) = (row for row in index_rows(tmp_path) if row["id"] == "ä")
    told = _row("ä", expected["ä"])
    assert {name: row[name] for name in (*told,) if name != "fit"} == {k: v for k, v in told.items() if k != "fit"}
    assert row["fit"]["w_distance"] == 0.5
    drop_rows(tmp_path, {"s03", "z"})
    assert read_index(tmp_path)["id"].to_pylist() == sorted({*expected} - {"s03", "z"})


@pytest.mark.usefixtures("_small")
def test_a_fold_that_is_stopped_loses_nothing_and_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"s{number:02d}" for number in range(30)]
    for name in names:
        Journal.of(tmp_path, [name]).finish([_row(name, "done")])
    (tmp_path / "journal" / "parts").mkdir()
    (tmp_path / "journal" / "parts" / "000009.arrow").write_bytes(b"of one that was killed")
    with monkeypatch.context() as patch:
        patch.setattr(fold, "merged", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fold_journals(tmp_path)
    assert not list(index_rows(tmp_path))
    fold_journals(tmp_path)
    assert read_index(tmp_path)["id"].to_pylist() == names


_MEASURE = """
import resource, sys
from pathlib import Path
from deltafast.scale import fold, index
sys.path.insert(0, {tests!r})
from test_fold import _row
from deltafast.scale.journal import Journal
fold._PART, fold._BATCH, index._GROUP, index._BATCH = 1024, 64, 1024, 64
out = Path({out!r})
for start in range(0, {rows}, 256):
    names = [f"s{{number:08d}}" for number in range(start, min(start + 256, {rows}))]
    Journal.of(out, names).finish([_row(name, "done " * 200) for name in names])
fold.fold_journals(out)
assert sum(1 for _ in index.index_rows(out, ["id", "done"])) == {rows}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="tells no peak of memory")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = []
    for rows in (2048, 24_576):  # of 2 kB
        script = _MEASURE.format(tests=str(Path(__file__).parent), out=str(tmp_path / str(rows)), rows=rows)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) * (1 if sys.platform == "darwin" else 1024))
    assert peaks[1] - peaks[0] < 24 << 20  # as Arrow 48 MB more, as Python's objects 90
