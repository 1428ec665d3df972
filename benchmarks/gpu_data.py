"""`make gpu-data FOLDER`: lay what GPU tests and benchmarks need into one folder, for a machine without a network.

The folder then holds `cache/` (the converted generator), `shared/fixtures/` (reference checkpoints with their golden
values, where the checkout has them) and `commit`; `gpu_check.py` and `gpu_bench.py` read them from there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _shared() -> Path | None:
    candidates = [os.environ.get("DELTAFAST_SHARED"), ROOT.parent / "shared", ROOT / "shared"]
    return next((Path(folder) for folder in candidates if folder and (Path(folder) / "fixtures").is_dir()), None)


def main(folder: Path) -> None:
    """Fill `folder` and print its size."""
    os.environ["DELTAFAST_CACHE"] = str(folder / "cache")  # before the generator is asked for
    from deltafast.generators.load import load_generator

    load_generator("mobilestylegan-ffhq")
    shared = _shared()
    if shared is None:
        print("no reference checkpoints (DELTAFAST_SHARED): GPU tests that need them will fail", file=sys.stderr)
    else:
        shutil.copytree(shared / "fixtures", folder / "shared" / "fixtures", dirs_exist_ok=True)
    described = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    (folder / "commit").write_text(described.stdout, encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / ".gpu-data"))
