"""`import deltafast` stays light."""

from __future__ import annotations

import statistics
import subprocess
import sys

HEAVY = ("matplotlib", "typer", "rich", "PIL", "scipy", "skimage", "dlib")


def _run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_import_costs_less_than_a_third_of_a_second_beyond_torch() -> None:
    # Processor time, so that other work on the machine does not decide the result.
    program = "import time, torch; t = time.process_time(); import deltafast; print(time.process_time() - t)"
    times = [float(_run(program)) for _ in range(3)]
    assert statistics.median(times) < 0.3, times


def test_import_loads_nothing_heavy() -> None:
    program = (
        "import sys, torch; had = set(sys.modules); import deltafast, deltafast.ops; print(*set(sys.modules) - had)"
    )
    loaded = {name.split(".")[0] for name in _run(program).split()}
    assert "deltafast" in loaded
    assert not loaded & set(HEAVY)
