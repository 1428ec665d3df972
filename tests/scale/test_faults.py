"""A driver and a worker are killed over real edits: each sample is there once, with the bytes of a run without faults.

`python -m benchmarks.ray_faults` is the same at any size, on a cluster whose nodes are lost too.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_jobs import SlowJob

from benchmarks.ray_cluster import workers_below
from benchmarks.ray_faults import Done, compare, job_of, make_inputs, without_faults
from deltafast.scale.sources import find_samples

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed; `make scale` does that"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds workers by /proc"),
]

_DRIVER = """
import pickle, sys
from pathlib import Path
from deltafast.scale.run import RayOptions, run_job
if __name__ == "__main__":
    job, samples = pickle.loads(Path(sys.argv[1]).read_bytes())
    run_job(job, samples, sys.argv[2], {}, RayOptions(workers=int(sys.argv[3]), per_shard=10, timeout=60))
"""
_PATIENCE = 240.0  # seconds, of a machine that has other work too


def _driver(folder: Path, workers: int) -> subprocess.Popen[bytes]:
    own = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(own), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", _DRIVER, str(folder / "job"), str(folder / "out"), str(workers)]
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(words, env=environment, stdout=log, stderr=log)


def _await(driver: subprocess.Popen[bytes], done: Done, count: int) -> None:
    """Wait until workers have made so many samples."""
    until = time.monotonic() + _PATIENCE
    while not workers_below(driver.pid) or done.count() < count:
        assert driver.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)


def test_every_sample_is_there_once_when_a_driver_and_a_worker_are_killed(tmp_path: Path) -> None:
    inputs = make_inputs(tmp_path, 40, damaged=1, hanging=0)
    plain = without_faults(inputs, tmp_path / "plain")
    out = tmp_path / "out"
    job = SlowJob(job_of(inputs), 0.5)
    (tmp_path / "job").write_bytes(pickle.dumps((job, find_samples(inputs.listed, out))))
    done = Done(out)

    with _driver(tmp_path, 2) as driver:
        try:
            _await(driver, done, 4)
        finally:
            driver.kill()
    with _driver(tmp_path, 1) as driver:
        try:
            _await(driver, done, 0)
            _await(driver, done, done.count() + 4)  # its workers' own
            (only,) = workers_below(driver.pid)
            os.kill(only, signal.SIGKILL)
            _await(driver, done, done.count() + 1)  # another worker's
            assert done.count() < 40
            assert driver.wait(_PATIENCE) == 0, (tmp_path / "log").read_text()[-3000:]
        finally:
            driver.kill()

    found = compare(inputs, out, plain)
    wrong = {name: found[name] for name in ("lost", "twice", "differing", "wrong_errors")}
    assert wrong == {"lost": 0, "twice": 0, "differing": 0, "wrong_errors": 0}
    assert (found["rows"], found["edited"]) == (40, 39)
