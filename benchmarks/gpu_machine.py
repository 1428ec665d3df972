"""What `gpu_check.py` and `gpu_bench.py` share: the GPU that must be there, the build for it, steps within a budget."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NO_GPU = 3  # exit code where there is nothing to run on


def arguments(description: str) -> argparse.Namespace:
    """Parse the options of both programs: `--data`, `--results`, `--minutes`, `--rehearse`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, default=ROOT / ".gpu-data", help="folder that `make gpu-data` filled")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    parser.add_argument("--minutes", type=float, default=8.5, help="time in all; what does not fit counts as failed")
    parser.add_argument(
        "--rehearse", action="store_true", help="walk through every step without a GPU, on tiny sizes; nothing counts"
    )
    return parser.parse_args()


def require_gpu(name: str, data: Path, *, rehearse: bool) -> dict[str, Any]:
    """Return what this machine is; without a GPU that torch can use, say so and end the program with code 3.

    A rehearsal needs no GPU, and says in what it returns that it was one.
    """
    try:
        import torch
    except ImportError as error:
        print(f"{name}: {sys.executable} has no torch ({error}); set PYTHON to one that has it", file=sys.stderr)
        sys.exit(NO_GPU)
    if rehearse:
        return {"rehearsal": True, "torch": torch.__version__, "commit": _commit(data), "sources": _digest_of_sources()}
    if not torch.cuda.is_available():
        print(
            f"{name}: torch {torch.__version__} finds no CUDA device here, so nothing was run and nothing is claimed; "
            "the kernels' CPU side is tested by `make test`",
            file=sys.stderr,
        )
        sys.exit(NO_GPU)
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": _first_line(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]),
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "nvcc": _last_line(["nvcc", "--version"]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "commit": _commit(data),
        "sources": _digest_of_sources(),
    }


@dataclass
class Steps:
    """Commands run one after the other within one budget of time; `results` says how each went."""

    seconds: float
    data: Path
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds left of the budget."""
        return self.seconds - (time.monotonic() - self._started)

    @property
    def ok(self) -> bool:
        """Whether every step so far succeeded."""
        return all(step["ok"] for step in self.results.values())

    def fail(self, name: str, reason: str) -> None:
        """Note that a step failed without a command of its own."""
        self.results.setdefault(name, {}).update(ok=False, reason=reason)
        print(f"{name}: FAILED: {reason}", flush=True)

    def run(self, name: str, command: Sequence[str | Path], *, share: float = 1.0, **environment: str) -> bool:
        """Run one command in the checkout; its output goes to the terminal. False where it failed or ran too long.

        `share` of the time that is left is the most that it may take.
        """
        print(f"== {name}: {' '.join(map(str, command))}", flush=True)
        begun = time.monotonic()
        if self.left < 1:
            self.fail(name, "no time left")
            return False
        try:
            code = subprocess.run(
                [*map(str, command)],
                cwd=ROOT,
                env=self._environment(environment),
                timeout=share * self.left,
                check=False,
            ).returncode
            reason = "" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            reason = "it did not end in time"
        except OSError as error:
            reason = str(error)
        self.results[name] = {"ok": not reason, "seconds": round(time.monotonic() - begun, 1)}
        if reason:
            self.fail(name, reason)
        return not reason

    def _environment(self, extra: dict[str, str]) -> dict[str, str]:
        found = os.environ.get("PYTHONPATH")
        ours = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *([found] if found else [])]),
            "PYTHONUNBUFFERED": "1",
            "DELTAFAST_CACHE": str((self.data / "cache").resolve()),
            "DELTAFAST_SHARED": str((self.data / "shared").resolve()),
        }
        return {**os.environ, **ours, **extra}


def build(steps: Steps, machine: dict[str, Any]) -> bool:
    """Build `_C` in place, with CUDA kernels for this machine's GPU alone; a rehearsal takes what is there."""
    if machine.get("rehearsal"):
        return steps.run("build", [sys.executable, "-c", "import deltafast.ops"])
    if shutil.which("nvcc") is None and "CUDA_HOME" not in os.environ:
        steps.fail("build", "no nvcc on PATH and no CUDA_HOME, so the CUDA kernels cannot be built")
        return False
    return steps.run(
        "build",
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        TORCH_CUDA_ARCH_LIST=os.environ.get("TORCH_CUDA_ARCH_LIST", machine["capability"]),
        MAX_JOBS=os.environ.get("MAX_JOBS", str(os.cpu_count() or 2)),
    )


def finish(name: str, steps: Steps, report: dict[str, Any], results: Path) -> None:
    """Write `results/<name>.json`, print the verdict, and end the program with 0 or 1."""
    path = results / f"{name}.json"
    results.mkdir(parents=True, exist_ok=True)
    content = json.dumps({**report, "ok": steps.ok, "steps": steps.results}, indent=2, sort_keys=True)
    path.write_text(content + "\n", encoding="utf-8")
    print(f"{name}: {'passed' if steps.ok else 'FAILED'}; {path}")
    sys.exit(0 if steps.ok else 1)


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for folder in ("csrc", "deltafast"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".cpp", ".h", ".cu", ".cuh"}:
                digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _commit(data: Path) -> str:
    noted = data / "commit"
    found = _first_line(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"])
    return found or (noted.read_text(encoding="utf-8").strip() if noted.exists() else "")


def _lines(command: Sequence[str]) -> list[str]:
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return shown.strip().splitlines()


def _first_line(command: Sequence[str]) -> str:
    return next(iter(_lines(command)), "")


def _last_line(command: Sequence[str]) -> str:
    return next(reversed(_lines(command)), "")
