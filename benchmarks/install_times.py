"""How long a fresh machine takes: `pip install .` beside a torch, `import deltafast`, `make demo` and `make test`.

    python benchmarks/install_times.py --out benchmarks/results/install_times.json

clones this checkout's HEAD into a temporary folder, makes new virtual environments there and an empty deltafast cache,
and times each word as a user would type it. torch's own download is timed apart. Fails when a step fails or when
`pip install .` changes the torch that is there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from deltafast.evaluation.machine import describe_run
from deltafast.files import write_json

ROOT = Path(__file__).resolve().parent.parent
IMPORT_RUNS = 7


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "install_times.json")
    options = parser.parse_args(arguments)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="deltafast-install-") as name:
        clone = Path(name) / "deltafast"
        run(["git", "clone", "--quiet", str(ROOT), str(clone)], Path(name))
        torch = next(
            line for line in (clone / "constraints.txt").read_text().splitlines() if line.startswith("torch==")
        )
        python = Path(name) / "venv" / "bin" / "python"
        run([sys.executable, "-m", "venv", str(python.parent.parent)], clone)
        seconds["pip install torch"] = run([str(python), "-m", "pip", "install", "--quiet", torch], clone)
        before = torch_of(python, clone)
        seconds["pip install ."] = run([str(python), "-m", "pip", "install", "--quiet", "."], clone)
        if torch_of(python, clone) != before:
            print("error: pip install . changed the torch that was there", file=sys.stderr)
            return 1
        seconds["import deltafast beyond import torch"] = import_time(python, Path(name))
        seconds["make demo, from nothing"] = run(["make", "demo"], clone)
        seconds["make demo, again"] = run(["make", "demo"], clone)
        seconds["make test"] = run(["make", "test"], clone)
    result = {"run": describe_run(), "torch": before, "seconds": {k: round(v, 3) for k, v in seconds.items()}}
    write_json(options.out, result)
    for step, spent in seconds.items():
        print(f"{step:<40} {spent:8.2f} s")
    return 0


def run(command: list[str], folder: Path) -> float:
    """Run a command in `folder` as on a new machine, and return its seconds; raises when it fails."""
    unwanted = ("VIRTUAL_ENV", "PYTHONPATH", "DELTAFAST_CACHE")
    environment = {key: value for key, value in os.environ.items() if key not in unwanted}
    environment["DELTAFAST_CACHE"] = str(folder.parent / "cache")
    environment.setdefault("DELTAFAST_SHARED", str(ROOT.parent / "shared"))
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def torch_of(python: Path, folder: Path) -> str:
    """Return the version of the torch that `python` has."""
    program = "from importlib.metadata import version; print(version('torch'))"
    return subprocess.check_output([str(python), "-c", program], cwd=folder, text=True).strip()


def import_time(python: Path, folder: Path) -> float:
    """Return the median seconds of `import deltafast` after `import torch`, each in a new process."""
    program = "import time, torch; t = time.perf_counter(); import deltafast; print(time.perf_counter() - t)"
    runs = [float(subprocess.check_output([str(python), "-c", program], cwd=folder)) for _ in range(IMPORT_RUNS)]
    return sorted(runs)[IMPORT_RUNS // 2]


if __name__ == "__main__":
    raise SystemExit(main())
