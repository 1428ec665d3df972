"""Through Ray: the bytes of the plain command, and nothing lost or twice when samples, workers or the driver die."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_editors import random_editor
from small_jobs import TextJob, seeds
from typer.testing import CliRunner

from deltafast.cli import app
from deltafast.errors import DiskError, WorkerError
from deltafast.generators.base import Generator
from deltafast.generators.load import save_generator
from deltafast.scale.cluster import ray_session
from deltafast.scale.index import index_rows, read_index
from deltafast.scale.run import RayOptions, run_job

pytestmark = pytest.mark.slow

_NAMES = [*(f"s{number:02d}" for number in range(20)), "crash", "hang", "bad"]
_DRIVER = """
from pathlib import Path
from small_jobs import TextJob, seeds
from deltafast.scale.run import RayOptions, run_job
if __name__ == "__main__":
    job = TextJob(Path({folder!r}), seconds=0.5)
    run_job(job, seeds(*{names!r}), {folder!r} + "/out", {{}}, RayOptions(workers=1, per_shard=5, timeout=60))
"""


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray of this machine with two cores, for all tests of this module."""
    if importlib.util.find_spec("ray") is None:  # not imported yet: what keeps it on the loopback is set before
        pytest.skip("Ray is not installed; `make scale` does that")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)  # where workers find small_jobs
        with ray_session("local", 2) as module:
            yield module


def test_ray_listens_on_the_loopback_alone(ray: Any) -> None:
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
    assert not ray._private.worker._global_node.webui_url  # no dashboard
    if not Path("/proc/net/tcp").exists():
        return
    own = {one for path in _own_processes() for one in _sockets(path)}
    listening = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[9] in own
    ]
    addresses = {words[1].split(":")[0] for words in listening}
    assert addresses <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert listening


def _own_processes() -> Iterator[Path]:
    """The processes that this one started, and theirs."""
    known = {os.getpid()}
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            found[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    grown = True
    while grown:
        grown = False
        for child, parent in found.items():
            if parent in known and child not in known:
                known.add(child)
                grown = True
    yield from (Path("/proc", str(one)) for one in known)


def _sockets(process: Path) -> Iterator[str]:
    try:
        for handle in (process / "fd").iterdir():
            target = os.readlink(handle)
            if target.startswith("socket:["):
                yield target[8:-1]
    except OSError:
        return


def test_edits_are_the_plain_commands_bytes(ray: Any, tiny_generator: Generator, tmp_path: Path) -> None:
    save_generator(tiny_generator, tmp_path / "G.safetensors")
    random_editor(tiny_generator).save(tmp_path / "yaw.safetensors")
    words = ["--seeds", "0-9", "--generator", str(tmp_path / "G.safetensors"), "--latents", "--batch-size", "3"]
    words += ["--editor", str(tmp_path / "yaw.safetensors"), "--alpha", "1", "--alpha", "-1"]
    for name, more in (("plain", []), ("ray", ["--ray", "local", "--workers", "1"])):
        done = CliRunner().invoke(app, ["edit", str(tmp_path / name), *words, *more])
        assert done.exit_code == 0, done.output
    plain, spread = tmp_path / "plain", tmp_path / "ray"
    names = sorted(path.name for path in plain.iterdir() if path.suffix in (".png", ".safetensors"))
    assert len(names) == 30
    assert names == sorted(path.name for path in spread.iterdir() if path.suffix in (".png", ".safetensors"))
    assert (plain / "settings.json").read_bytes() == (spread / "settings.json").read_bytes()
    for name in names:
        assert (plain / name).read_bytes() == (spread / name).read_bytes(), name
    assert read_index(spread)["id"].to_pylist() == [f"seed{number:04d}" for number in range(10)]


def test_nothing_is_lost_or_twice_when_driver_and_workers_die(ray: Any, tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(_DRIVER.format(folder=str(tmp_path), names=_NAMES))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as driver:
        made = tmp_path / "made"
        until = time.monotonic() + 200
        while not (made.exists() and made.read_text().count("\n") >= 3):
            assert driver.poll() is None, driver.stderr and driver.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.1)
        driver.send_signal(signal.SIGKILL)
    begun = made.read_text().split()
    assert set(begun) < set(_NAMES)

    options = RayOptions(workers=2, per_shard=5, timeout=3, tries=2)
    run_job(TextJob(tmp_path), seeds(*_NAMES), tmp_path / "out", {}, options)
    index = list(index_rows(tmp_path / "out"))
    rows = {row["id"]: row for row in index}
    assert [row["id"] for row in index] == sorted(_NAMES)
    assert {name for name, row in rows.items() if row["error"]} == {"crash", "bad"}
    assert "given up after 2 tries" in rows["crash"]["error"]
    for name, row in rows.items():
        if row["error"] is None:
            (file,) = row["files"]
            data = (tmp_path / "out" / file["shard"]).read_bytes()[file["start"] :][: file["size"]]
            assert data.decode() == name
    members = [name for path in (tmp_path / "out" / "shards").glob("*.tar") for name in _names(path)]
    assert sorted(members) == sorted(f"{name}.txt" for name, row in rows.items() if row["error"] is None)

    lines = made.read_text()
    run_job(TextJob(tmp_path), seeds(*_NAMES), tmp_path / "out", {}, options)
    assert list(index_rows(tmp_path / "out")) == index
    assert made.read_text() == lines  # all is done: no worker was asked

    (tmp_path / "full").touch()
    more = seeds(*_NAMES, "full", "later")
    with pytest.raises(DiskError, match="No space left"):
        run_job(TextJob(tmp_path), more, tmp_path / "out", {}, options)
    (tmp_path / "full").unlink()
    run_job(TextJob(tmp_path), more, tmp_path / "out", {}, options)
    rows = {row["id"]: row for row in index_rows(tmp_path / "out")}
    assert rows["full"]["files"]
    assert rows["later"]["files"]
    assert len(rows) == read_index(tmp_path / "out").num_rows == len(more)


def _names(path: Path) -> list[str]:
    import tarfile

    with tarfile.open(path, "r:") as archive:
        return archive.getnames()


def test_a_cluster_that_is_too_small_is_named(ray: Any, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="the cluster has 2 cores; a worker needs 3"):
        run_job(TextJob(tmp_path), seeds("a"), tmp_path / "out", {}, RayOptions(threads=3))
