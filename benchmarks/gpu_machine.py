"""The machine that `make gpu` runs on: what it is, that it has a GPU, and where it finds what was carried there."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NO_GPU = 3  # exit code where there is nothing to run on


def require_gpu(data: Path, *, rehearse: bool) -> dict[str, Any]:
    """Return what this machine is; without a GPU that torch can use, say so and end the program with code 3.

    A rehearsal needs no GPU, and says in what it returns that it was one.
    """
    try:
        import torch
    except ImportError as error:
        print(f"gpu: {sys.executable} has no torch ({error}); set PYTHON to one that has it", file=sys.stderr)
        sys.exit(NO_GPU)
    here = {
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": _cores(),
        "commit": _commit(data),
        "sources": _digest_of_sources(),
    }
    if rehearse:
        return {"rehearsal": True, **here}
    if not torch.cuda.is_available():
        print(
            f"gpu: torch {torch.__version__} finds no CUDA device here, so nothing was run and nothing is claimed; "
            "the kernels' CPU side is tested by `make test`, and `make gpu REHEARSE=1` walks through every step",
            file=sys.stderr,
        )
        sys.exit(NO_GPU)
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": _first_line(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]),
        "nvcc": _last_line(["nvcc", "--version"]),
        **here,
    }


def environment(data: Path, *, rehearse: bool) -> dict[str, str]:
    """Return what programs need in their environment: the carried data, and no network to wait for.

    A rehearsal takes the user's own cache.
    """
    found = os.environ.get("PYTHONPATH")
    ours = {"PYTHONPATH": os.pathsep.join([str(ROOT), *([found] if found else [])]), "PYTHONUNBUFFERED": "1"}
    if rehearse:
        return ours
    return ours | {
        "DELTAFAST_CACHE": str((data / "cache").resolve()),
        "DELTAFAST_SHARED": str((data / "shared").resolve()),
        "PIP_NO_INDEX": "1",  # what is missing is missing at once, not after pip has looked for half an hour
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
