"""A Ray cluster of several nodes on this machine's loopback, each started as a person would, and its faults."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Cluster", "children_of", "workers_below"]

_STORE = 100 << 20  # bytes; only records travel
_HEAD = "127.0.0.2"  # for 127.0.0.1 Ray takes the machine's address on its network
_STARTS = 300.0  # seconds that a node may take


class Cluster:
    """Nodes of one core each; `address` is what `--ray` takes, and `environment` what its driver needs.

    They have addresses of the loopback (some of Ray's ports listen on all others too), ask for a token, start no
    dashboard and send no usage statistics.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))  # short: sockets below it have names of 107 bytes at most
        with socket.socket() as probe:
            probe.bind((_HEAD, 0))
            port = probe.getsockname()[1]
        self.address = f"{_HEAD}:{port}"
        self.environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "RAY_worker_register_timeout_seconds": "600",  # of a machine that has other work too
        }
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._start("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self._folder}")

    def _start(self, *words: str) -> int:
        ray = Path(sys.executable).with_name("ray")
        own = f"127.0.0.{len(self.nodes) + 2}"
        more = (f"--node-ip-address={own}", "--num-cpus=1", f"--object-store-memory={_STORE}", "--block")
        log = open(self._folder / f"node{len(self.nodes)}.log", "wb")  # noqa: SIM115
        node = subprocess.Popen(
            [str(ray), "start", *words, *more],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.nodes.append(node)
        until = time.monotonic() + _STARTS
        while b"This command will now block" not in Path(log.name).read_bytes():
            if node.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"a node did not start: {Path(log.name).read_text()[-2000:]}")
            time.sleep(0.2)
        log.close()
        return len(self.nodes) - 1

    def join(self) -> int:
        """Start another node, and return its number."""
        return self._start(f"--address={self.address}")

    def stop(self, number: int) -> None:
        """End a node and all that runs on it at once, as a power cut would."""
        node = self.nodes[number]
        found = [node.pid, *children_of(node.pid)]
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        node.wait()

    def workers(self) -> list[int]:
        """Return the processes that hold a FaceWorker, on all nodes."""
        found = []
        for node in self.nodes:
            if node.poll() is None:
                found += workers_below(node.pid)
        return sorted(found)

    def close(self) -> None:
        """End all nodes, the head last."""
        for number in reversed(range(len(self.nodes))):
            if self.nodes[number].poll() is None:
                self.stop(number)
        shutil.rmtree(self._folder, ignore_errors=True)


def workers_below(process: int) -> list[int]:
    """Return the processes that hold a FaceWorker among those that a process started."""
    return [one for one in children_of(process) if b"FaceWorker" in _read(one, "cmdline")]


def children_of(process: int) -> list[int]:
    """Return the processes that a process started, and theirs."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        fields = _read(int(path.name), "stat").rpartition(b")")[2].split()
        if len(fields) > 1:
            parents.setdefault(int(fields[1]), []).append(int(path.name))
    return list(_below(process, parents))


def _below(process: int, parents: dict[int, list[int]]) -> Iterator[int]:
    for child in parents.get(process, ()):
        yield child
        yield from _below(child, parents)


def _read(process: int, name: str) -> bytes:
    try:
        return Path("/proc", str(process), name).read_bytes()
    except OSError:
        return b""
