"""How long a fresh machine takes: what CI runs, `make demo`, `pip install .` beside a torch, and `import deltafast`.

    python -m benchmarks.install_times [--out benchmarks/results/install_times.json]

clones this checkout's HEAD into a temporary folder, with an empty deltafast cache, and times each word as a user types
it, the two of `.ci/run` first: they are made from nothing, and the other words find the environment that they leave.
`pip install .` is timed in an environment of its own beside a torch, without nvcc (the CUDA kernels are part of `make
install`); torch's own download is timed apart. A pip cache is used where there is one. The JSON is written anew after
every step, so that a stop costs only what was not measured yet. Fails when a step fails or when `pip install .` changes
the torch that is there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deltafast.evaluation.machine import describe_run
from deltafast.files import write_json

ROOT = Path(__file__).resolve().parent.parent
IMPORT_RUNS = 5
_OF_CALLERS = ("VIRTUAL_ENV", "PYTHONPATH", "DELTAFAST_CACHE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "install_times.json")
    options = parser.parse_args(arguments)
    result = {"run": describe_run(), "seconds": {}}
    with tempfile.TemporaryDirectory(prefix="deltafast-install-") as name:
        clone = Path(name) / "deltafast"
        clone_to(clone)
        for step, take in steps(clone):
            try:
                seconds = take()
            except (subprocess.CalledProcessError, TorchChangedError) as error:
                print(f"error: {step}: {error}", file=sys.stderr)
                return 1
            result["seconds"][step] = round(seconds, 3)
            print(f"{step:<40} {seconds:8.2f} s", flush=True)
            write_json(options.out, result)
    return 0


def steps(clone: Path) -> list[tuple[str, Callable[[], float]]]:
    """Return what is timed, in this order, by what a user types; each call gives its seconds."""
    torch = next(line for line in (clone / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    python = clone.parent / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet"]

    def install_torch() -> float:
        subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
        return run([*pip, torch], clone)

    def install() -> float:
        before = torch_of(python, clone)
        seconds = run([*pip, "."], clone, DELTAFAST_NO_CUDA="1")
        if torch_of(python, clone) != before:
            raise TorchChangedError("pip install . changed the torch that was there")
        return seconds

    return [
        ("make check install, from nothing", lambda: run(["make", "--jobs=2", "check", "install"], clone)),
        ("make test", lambda: run(["make", "test"], clone)),
        ("make demo, first", lambda: run(["make", "demo"], clone, DELTAFAST_CACHE=str(clone.parent / "demo-cache"))),
        ("make demo, again", lambda: run(["make", "demo"], clone, DELTAFAST_CACHE=str(clone.parent / "demo-cache"))),
        ("pip install torch", install_torch),
        ("pip install ., without nvcc", install),
        ("import deltafast beyond import torch", lambda: import_time(python, clone.parent)),
    ]


class TorchChangedError(Exception):
    """The torch that was there is another one now."""


def clone_to(folder: Path) -> None:
    """Clone this checkout's HEAD."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)


def run(command: list[str], folder: Path, **variables: str) -> float:
    """Run a command in `folder` as on a new machine, and return its seconds; raises when it fails."""
    environment = {key: value for key, value in os.environ.items() if key not in _OF_CALLERS}
    environment |= {"DELTAFAST_CACHE": str(folder.parent / "cache"), **variables}
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
    return statistics.median(
        float(subprocess.check_output([str(python), "-c", program], cwd=folder)) for _ in range(IMPORT_RUNS)
    )


if __name__ == "__main__":
    raise SystemExit(main())
