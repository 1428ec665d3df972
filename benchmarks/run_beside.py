"""Build against another torch and run the tests there; or run this very build beside it.

    python -m benchmarks.run_beside --python /path/to/other/bin/python --build [--out FILE] [-- pytest arguments]

The sources are copied into a temporary folder that becomes PYTHONPATH of the other interpreter, which has torch 2.10 or
newer, numpy, pytest and, to build, cmake, ninja and pybind11. With `--build` the module is made there, against that
torch (CUDA kernels too, where there is an nvcc; `TORCH_CUDA_ARCH_LIST=9.0` shortens it); without, the `_C` of this
checkout is taken, which must be of the same Python. A GPU is not needed: beside a CUDA build of torch it is also
checked that torch's stream can be looked up. `--out` adds the result to a JSON file, by torch and Python.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

_COPIED = ("deltafast", "tests", "benchmarks", "csrc", "build_backend", "docs")
_FILES = ("conftest.py", "pyproject.toml", "setup.py", "CMakeLists.txt", "README.md")
_PROBE = """
import json, platform, torch, deltafast.ops
from deltafast.ops import _library
reachable = _library._C.cuda_stream_is_reachable()
kernels = _library.HAS_CUDA_KERNELS
assert not (kernels and torch.version.cuda) or reachable, "torch's CUDA stream cannot be looked up"
print(json.dumps({"torch": torch.__version__, "torch_cuda": torch.version.cuda, "stream_reachable": reachable,
                  "built_against_torch": _library._C.build_info()["built_against_torch"], "cuda_kernels": kernels,
                  "python": platform.python_version(), "gpu": torch.cuda.is_available()}))
"""


def _copy(folder: Path, *, build: bool) -> None:
    left_out = shutil.ignore_patterns("__pycache__", *(["*.so"] if build else []))
    for name in _COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=left_out)
    for name in _FILES:
        shutil.copy(ROOT / name, folder / name)


def _build(python: str, folder: Path, environment: dict[str, str]) -> float:
    begun = time.monotonic()
    command = [python, "build_backend/toolchain.py", "--inplace"]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return round(time.monotonic() - begun, 1)


def _counts(output: str) -> dict[str, int]:
    """Return what pytest's last line says: passed, failed, skipped."""
    last = output.strip().splitlines()[-1] if output.strip() else ""
    return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", last)}


def main() -> int:
    """Build and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="interpreter of the environment with the other torch")
    parser.add_argument("--build", action="store_true", help="build there, instead of taking this checkout's module")
    parser.add_argument("--out", type=Path, help="JSON file that the result is added to")
    parser.add_argument("pytest_arguments", nargs="*", help="passed on to pytest; tests/ops unless given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _copy(folder, build=options.build)
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        seconds = _build(options.python, folder, environment) if options.build else 0.0
        probe = subprocess.run([options.python, "-c", _PROBE], cwd=folder, env=environment, stdout=subprocess.PIPE)
        if probe.returncode:
            return probe.returncode
        result: dict[str, Any] = json.loads(probe.stdout.splitlines()[-1])
        print(result, flush=True)
        chosen = options.pytest_arguments or ["tests/ops"]
        command = [options.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        print(done.stdout[-3000:])
    result |= {"built_there": options.build, "tests": chosen, **_counts(done.stdout)}
    result["failed_tests"] = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    result |= {"build_s": seconds} if options.build else {}
    if options.out:
        known = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
        known[f"torch {result['torch']}, Python {result['python']}"] = result
        options.out.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
