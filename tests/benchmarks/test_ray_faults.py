"""The judge of a run with faults sees what is lost, twice, or of other bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from benchmarks.ray_faults import compare, make_inputs, without_faults
from deltafast.scale.fold import fold_journals
from deltafast.scale.index import index_rows
from deltafast.scale.kept import shard_ends
from deltafast.scale.sinks import seal_shards


def test_what_is_lost_twice_or_changed_is_seen(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, 12, damaged=2, hanging=1)
    plain = without_faults(inputs, tmp_path / "out")  # leaves the hanging one out
    out = tmp_path / "out"
    fold_journals(out)
    seal_shards(out, shard_ends(out))
    found = compare(inputs, out, plain)
    assert (found["rows"], found["edited"]) == (11, 9)
    assert (found["lost"], found["twice"], found["differing"], found["wrong_errors"]) == (1, 0, 0, 2)

    (shard,) = (out / "shards").glob("*.tar")
    shutil.copy(shard, shard.with_name("again.tar"))
    assert compare(inputs, out, plain)["twice"] == 9
    (out / "shards" / "again.tar").unlink()
    file = next(row["files"][0] for row in index_rows(out) if row["files"])
    data = bytearray(shard.read_bytes())
    data[file["start"] + 5] ^= 1
    shard.write_bytes(data)
    assert compare(inputs, out, plain)["differing"] == 1
    name = next(iter(name for name, files in plain.items() if files))
    assert compare(inputs, out, {**plain, name: {}})["differing"] == 2
