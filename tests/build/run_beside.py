"""Run the op tests of this very build beside another torch.

    python tests/build/run_beside.py --python /path/to/other/environment/bin/python

The package, `_C` included, is copied into a temporary folder that becomes PYTHONPATH of the other interpreter (the same
Python version, with torch 2.10 or newer, numpy and pytest). Prints what was run beside what, and exits with pytest's
code. A GPU is not needed: beside a CUDA build of torch it is also checked that torch's stream can be looked up.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_PROBE = """
import json, torch, deltafast.ops
from deltafast.ops import _library
reachable = _library._C.cuda_stream_is_reachable()
kernels = _library.HAS_CUDA_KERNELS
assert not (kernels and torch.version.cuda) or reachable, "torch's CUDA stream cannot be looked up"
print(json.dumps({"torch": torch.__version__, "torch_cuda": torch.version.cuda, "stream_reachable": reachable,
                  "built_against_torch": _library._C.build_info()["built_against_torch"], "cuda_kernels": kernels,
                  "gpu": torch.cuda.is_available()}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="interpreter of the environment with the other torch")
    parser.add_argument("pytest_arguments", nargs="*", help="passed on to pytest")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "deltafast", folder / "deltafast", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "tests/ops", folder / "tests/ops", ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / file, folder / file)
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        probe = subprocess.run([options.python, "-c", _PROBE], cwd=folder, env=environment)
        if probe.returncode:
            return probe.returncode
        command = [options.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/ops"]
        return subprocess.run([*command, *options.pytest_arguments], cwd=folder, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
