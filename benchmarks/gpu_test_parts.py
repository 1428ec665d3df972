"""The tests for GPUs, cut into parts that run side by side: a process for each file, large files in several."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from benchmarks.gpu_machine import ROOT
from benchmarks.gpu_parts import Part

_MARKED = re.compile(r"mark\.gpu\b|^from op_checks import", re.MULTILINE)
_SLICE = 6000  # bytes of a test file that one process is given: a file of tests of three op variants takes longest
_MOST_SLICES = 4


def gpu_test_files() -> list[Path]:
    """Return the files with tests marked `gpu`, the largest first."""
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if path.parent.name != "build"]
    marked = [path for path in files if _MARKED.search(path.read_text(encoding="utf-8"))]
    return sorted(marked, key=lambda path: (-path.stat().st_size, path.name))


def parts_of_tests(*, rehearse: bool, timeout: float) -> list[Part]:
    """Return a part for every file or slice of one; a rehearsal runs a few tests for CPUs in two slices."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "benchmarks.evidence_plugin"]
    if rehearse:
        plan = [(ROOT / "tests/test_errors.py", 2)]
        command += ["-m", "not gpu"]
    else:
        plan = [(path, min(_MOST_SLICES, 1 + path.stat().st_size // _SLICE)) for path in gpu_test_files()]
        command += ["-m", "gpu", "--skips-fail"]
    parts = []
    for path, slices in plan:
        name = str(path.relative_to(ROOT))
        for place in range(slices):
            arguments = [name, "--slice", f"{place}/{slices}"]
            parts.append(Part(f"{name} {place + 1} of {slices}", [*command, *arguments], timeout=timeout))
    return parts
