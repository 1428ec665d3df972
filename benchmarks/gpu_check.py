"""`make gpu-check`: on a machine with a GPU, build, run every GPU test, and run the kernels under compute-sanitizer.

A GPU test that is skipped counts as failed. Leaves `gpu-check.json`; ends with 0 where all passed, 1 where something
failed, 3 where there is no GPU.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmarks.gpu_machine import Steps, arguments, build, finish, require_gpu

_TOOLS = ("memcheck", "racecheck", "synccheck")


def read_tests(path: Path) -> dict[str, list[str]]:
    """Return from a JUnit file the names of the tests that passed, failed and were skipped (with the reason)."""
    seen: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": []}
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            seen["failed"].append(name)
        elif skipped is not None:
            seen["skipped"].append(f"{name} ({skipped.get('message')})")
        else:
            seen["passed"].append(name)
    return seen


def _run_tests(steps: Steps, *, rehearse: bool) -> dict[str, list[str]]:
    chosen = ["-m", "not gpu", "tests/test_errors.py"] if rehearse else ["-m", "gpu", "tests"]
    with tempfile.TemporaryDirectory() as folder:
        junit = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={junit}", *chosen]
        steps.run("tests", command, share=0.6)
        tests = read_tests(junit) if junit.exists() else {"passed": [], "failed": [], "skipped": []}
    if tests["skipped"]:
        steps.fail("tests", f"skipped here, which counts as failed: {', '.join(tests['skipped'])}")
    elif not tests["passed"]:
        steps.fail("tests", "no GPU test was run")
    return tests


def _sanitize(steps: Steps, *, rehearse: bool) -> None:
    """Run every kernel on small sizes under each tool; a rehearsal runs them on the CPU, under none."""
    small = [sys.executable, "-m", "benchmarks.gpu_small"]
    for tool in _TOOLS:
        if rehearse:
            steps.run(tool, [*small, "--device", "cpu"])
        elif shutil.which("compute-sanitizer") is None:
            steps.fail(tool, "compute-sanitizer is not on PATH")
        else:
            command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", *small]
            steps.run(tool, command, PYTORCH_NO_CUDA_MEMORY_CACHING="1")


def main() -> None:
    """Run all steps and write the report."""
    options = arguments(__doc__ or "")
    machine = require_gpu("gpu-check", options.data, rehearse=options.rehearse)
    steps = Steps(options.minutes * 60, options.data)
    tests: dict[str, list[str]] = {}
    if build(steps, machine):
        tests = _run_tests(steps, rehearse=options.rehearse)
        _sanitize(steps, rehearse=options.rehearse)
    finish("gpu-check", steps, {"machine": machine, "tests": tests}, options.results)


if __name__ == "__main__":
    main()
