"""Keeping freed memory: set where glibc is, and tensors are not paged in anew afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
