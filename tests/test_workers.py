"""Several processes: results arrive, errors too, and the death of one is an error instead of a wait without end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deltafast.errors import InvalidInputError, WorkerError
from deltafast.workers import Workers

_OFFSET = 0


def begin(offset: int) -> None:
    """Say in this process what `add` adds."""
    global _OFFSET
    _OFFSET = offset


def add(number: int) -> int:
    """Add the process's offset; what is below 0 is refused, and 99 kills the process."""
    if number < 0:
        raise InvalidInputError("below 0")
    if number == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    return number + _OFFSET


def test_every_job_is_done_by_processes_that_began() -> None:
    workers = Workers(2, add, begin, (1000,))
    assert sorted(workers.run(range(20))) == list(range(1000, 1020))
    assert list(workers.run([5])) == [1005]  # the same processes, later
    workers.close()


def test_an_error_of_a_job_reaches_the_caller() -> None:
    with pytest.raises(InvalidInputError, match="below 0"):
        list(Workers(2, add).run([1, -1, 2]))


def refuse(offset: int) -> None:
    """Fail to begin."""
    raise InvalidInputError(f"cannot begin with {offset}")


def test_an_error_of_the_beginning_reaches_the_caller() -> None:
    with pytest.raises(InvalidInputError, match="cannot begin with 3"):
        list(Workers(2, add, refuse, (3,)).run([1, 2]))


def test_workers_that_were_closed_say_so() -> None:
    workers = Workers(1, add)
    with pytest.raises(InvalidInputError, match="below 0"):
        list(workers.run([-1]))
    with pytest.raises(WorkerError, match="these workers are closed"):
        list(workers.run([1]))


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="signals are masked on POSIX alone")
def test_a_process_is_deaf_to_ctrl_c_from_its_birth(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(1, add)
    masks, submit = [], workers._executor.submit

    def watched(*args: Any) -> Any:
        future = submit(*args)  # starts the process, which inherits the mask
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return future

    monkeypatch.setattr(workers._executor, "submit", watched)
    assert list(workers.run([1])) == [1]
    workers.close()
    assert all(signal.SIGINT in mask for mask in masks)
    assert masks
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_killed_process_is_an_error() -> None:
    with pytest.raises(WorkerError, match="ended by itself"):
        list(Workers(2, add).run([1, 99, *range(50)]))


def test_a_script_without_the_main_guard_ends_with_an_error(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from deltafast.synthetic import render_sequences\n"
        f"render_sequences({str(tmp_path / 'out')!r}, attributes=['yaw'], frames=3, size=16, processes=2)\n"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    assert "WorkerError" in done.stderr
    assert "if __name__ == '__main__':" in done.stderr
    assert time.monotonic() - began < 120


def test_processes_are_spawned_never_forked() -> None:
    source = (Path(__file__).resolve().parent.parent / "deltafast").rglob("*.py")
    starts = [path.name for path in source if re.search(r"multiprocessing|os\.fork|ProcessPool", path.read_text())]
    assert starts == ["workers.py"]  # the one place, which everything else goes through
    workers = Workers(1, add)
    assert workers._executor._mp_context.get_start_method() == "spawn"  # torch hangs where its threads were forked
    workers.close()


_PARENT = """
import sys, time
from test_workers import hold
from deltafast.workers import Workers
if __name__ == "__main__":
    for pid in Workers(2, hold).run([0.0, 0.0, 600.0, 600.0]):
        print(pid, flush=True)
"""


def hold(seconds: float) -> int:
    """Take so long, and say which process it was."""
    time.sleep(max(seconds, 0.2))
    return os.getpid()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="looks at /proc for processes that ended")
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_a_parent_that_is_killed(kind: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    environment = {**os.environ, "PYTHONPATH": path}
    parent = subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = {int(parent.stdout.readline()) for _ in range(2)}
    parent.send_signal(kind)
    parent.wait(timeout=60)
    deadline = time.monotonic() + 60
    while any(map(_is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_running, workers))
