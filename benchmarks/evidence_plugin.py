"""A pytest plugin: every test's outcome and every timing is kept as it comes.

    python -m pytest -p benchmarks.evidence_plugin --evidence FILE [--skips-fail] [--slice I/N] ...

Rows: `name` (the test), `ok`, `seconds`, `reason` of what failed, or `skipped` with its reason. Started again with the
same file, it leaves out the tests that have a row. `--slice` takes every N-th test, from the I-th on.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.evidence import LOST_DEVICE, Evidence

_LOST = re.compile(r"CUDA error|illegal memory access|unspecified launch failure|device-side assert|misaligned address")
_MOST = 1500  # characters of a reason


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two options."""
    parser.addoption("--evidence", type=Path, default=None, help="file for a JSON row of every result, as it comes")
    parser.addoption("--skips-fail", action="store_true", help="a skipped test is not ok")
    parser.addoption("--slice", default="0/1", help="I/N: every N-th test, from the I-th on")


def pytest_configure(config: pytest.Config) -> None:
    """Open the file."""
    config.stash[EVIDENCE] = Evidence(config.option.evidence)
    config.pluginmanager.register(
        _Recorder(config.stash[EVIDENCE], skips_fail=config.option.skips_fail), "evidence-recorder"
    )


EVIDENCE = pytest.StashKey[Evidence]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep this slice, without what has a row already; what compiles comes last, as it takes minutes."""
    first, _, count = config.option.slice.partition("/")
    mine = [item for place, item in enumerate(items) if place % int(count) == int(first)]
    kept = [item for item in mine if not config.stash[EVIDENCE].seen(item.nodeid)]
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = sorted(kept, key=lambda item: "compile" in item.nodeid)


def near_miss(text: str) -> float | None:
    """Return how many times the allowed error was made, where a message says both; None where it does not."""
    match = re.search(r"error (\S+?),? allowed (\S+)", text) or re.search(r"assert (\S+) <= (\S+)", text)
    try:
        return None if match is None else float(match[1]) / float(match[2].rstrip(".,)"))
    except (ValueError, ZeroDivisionError):
        return None


class _Recorder:
    def __init__(self, evidence: Evidence, *, skips_fail: bool) -> None:
        self._evidence = evidence
        self._skips_fail = skips_fail
        self._lost = ""

    def add_timing(self, row: dict[str, Any]) -> None:
        """Keep a timing."""
        self._evidence.add(**row)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._evidence.begin(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row: dict[str, Any] = {"name": report.nodeid, "seconds": round(report.duration, 3)}
        if report.failed:
            reason = str(getattr(report.longrepr, "reprcrash", None) or report.longrepr)[:_MOST]
            miss = near_miss(reason)
            self._evidence.add(**row, ok=False, reason=reason, **({} if miss is None else {"times_allowed": miss}))
            if _LOST.search(reason):
                self._lost = report.nodeid
        elif report.skipped:
            reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._evidence.add(**row, ok=not self._skips_fail, skipped=True, reason=reason)
        elif report.when == "call":
            self._evidence.add(**row, ok=True)

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK  # of this slice, or of what was left of it

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if self._lost:
            pytest.exit(f"the device is lost to this process since {self._lost}", returncode=LOST_DEVICE)
