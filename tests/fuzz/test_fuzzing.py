"""A short run of the fuzz harness: nothing but the readers' own errors, and a harness that would notice more."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import fuzz_readers
import pytest
from targets import TARGETS

_SECONDS = 12.0  # the whole run below 20
_JSON = next(target for target in TARGETS if target.name == "JSON")


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> fuzz_readers.Fuzzer:
    """A fuzzer whose findings are kept in memory."""
    return fuzz_readers.Fuzzer(tmp_path_factory.mktemp("fuzz"))


def test_mutated_files_give_a_value_or_the_readers_own_error(fuzzer: fuzz_readers.Fuzzer) -> None:
    inputs = fuzzer.mutate(4000, seed=int(os.environ.get("PYTEST_RANDOM_SEED", "1")), seconds=_SECONDS)
    print(f"{inputs} inputs, slowest {fuzzer.slowest:.2f} s")
    assert fuzzer.findings == []
    for target in TARGETS:
        if target.name not in ("encoders", "what is no generator"):  # of these no seed is whole
            assert fuzzer.counts[target.name]["read"] > 0, f"no seed of {target.name} is read"


@pytest.mark.parametrize("what", ["another error", "a hang", "memory", "a program", "two lines", "a defect", "a file"])
def test_the_harness_notices(what: str, fuzzer: fuzz_readers.Fuzzer, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> Any:
        if what == "another error":
            raise KeyError("x")
        if what == "a hang":
            time.sleep(30)
        if what == "a program":
            subprocess.run([sys.executable, "--version"], check=False)
        if what == "a file":
            (path.parent / "written").write_text("x")
        if what == "two lines":
            raise _JSON.error(f"{path.name}\nx")
        cause = MemoryError() if what == "memory" else NameError("x")
        raise _JSON.error(f"{path}: refused") from cause

    monkeypatch.setattr(fuzz_readers, "_SECONDS", 0.2)
    before = len(fuzzer.findings)
    fuzzer.try_input(replace(_JSON, read=read), b"{}")
    assert len(fuzzer.findings) == before + 1
    fuzzer.findings.clear()


def test_the_same_seed_gives_the_same_inputs(tmp_path: Path) -> None:
    import random

    from mutation import mutated

    seeds = _JSON.seeds(tmp_path)
    runs = [[mutated(seeds[0], seeds[1], random.Random(f"0/{k}")) for k in range(50)] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 40
