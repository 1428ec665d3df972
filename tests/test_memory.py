"""Keeping freed memory: set where glibc is, and tensors are not paged in anew afterwards."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from deltafast.memory import keep_freed_memory, return_freed_memory, share_freed_memory

_PROGRAM = """
import resource, sys, torch
from deltafast.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
x = torch.ones(1, 16, 512, 512)
def layers():
    y = x
    for _ in range(4):
        y = torch.nn.functional.leaky_relu(y * 1.1)
for _ in range(3):
    layers()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    layers()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _page_faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting belongs to glibc")
def test_tensors_reuse_memory_that_was_freed() -> None:
    kept = sorted(_page_faults("keep") for _ in range(3))[1]
    left = sorted(_page_faults("leave") for _ in range(3))[1]
    assert kept < left / 1.5


_THREADS = """
import re, sys, threading, numpy as np
from deltafast.memory import keep_freed_memory, return_freed_memory, share_freed_memory
keep_freed_memory()
if sys.argv[1] == "share":
    assert share_freed_memory()
turn, done = threading.Lock(), threading.Barrier(8)
def work():
    with turn:
        np.ones(5_000_000)
    done.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
def kib():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
kept = kib()
assert return_freed_memory()
print(kept, kib())
"""


def _kept_kib(mode: str) -> tuple[int, int]:
    done = subprocess.run([sys.executable, "-c", _THREADS, mode], capture_output=True, text=True, check=True)
    before, after = done.stdout.split()
    return int(before), int(after)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting belongs to glibc")
def test_threads_that_take_turns_reuse_each_others_freed_memory_and_it_can_be_handed_back() -> None:
    (own, _), (shared, shared_after) = _kept_kib("own"), _kept_kib("share")
    assert own - shared > 3 * 40_000  # of the eight arrays of 39,000 KiB
    assert shared - shared_after > 30_000


@pytest.mark.parametrize(
    ("most", "expected"), [(1 << 31, [1 << 30]), (1 << 25, [1 << 30, 1 << 25]), (0, [1 << 30, 1 << 25])]
)
def test_a_glibc_that_refuses_one_setting_gets_the_other(
    monkeypatch: pytest.MonkeyPatch, most: int, expected: list[int]
) -> None:
    asked: dict[int, list[int]] = {-1: [], -3: []}

    def mallopt(option: int, value: int) -> int:
        asked[option].append(value)
        return int(option == -1 or value <= most)

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    assert keep_freed_memory() is bool(most)
    assert asked == {-3: expected, -1: [(1 << 31) - 1]}


def test_where_the_c_library_has_no_such_setting_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    assert not keep_freed_memory()
    assert not share_freed_memory()
    assert not return_freed_memory()
