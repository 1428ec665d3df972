"""Turns the CUDA kernels into C++ for the emulation in grid.h: launches, their bounds and shared memory become calls.

A file of the same name in emulation/cuda/ stands in the place of one: those of the wrappers for inline assembly.

python translate.py CUDA_FOLDER OUT_FOLDER
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_LAUNCH = re.compile(r"(\w+(?:<[\w\s,:()]+>)?)\s*<<<(.*?)>>>\s*\(([^;]*)\);", re.DOTALL)
_DYNAMIC = re.compile(r"extern __shared__ (?:__align__\(\d+\) )?([\w ]+?) (\w+)\[\];")
_SHARED = re.compile(r"__shared__ ([\w<>:, ]+?) (\w+)((?:\[[^;]*\])*);")
_BOUND = re.compile(r"__launch_bounds__\(([^,()]+)(?:,[^()]+)?\)\s+(\w+\([^()]*\)\s*\{)")
_SPACE = "::deltafast::emulation::"


def translated(text: str, path: str) -> str:
    """Return C++ for the CUDA source `text` of the file `path`, line by line where it was."""
    text = _LAUNCH.sub(
        rf"{_SPACE}launch({_SPACE}Configuration(\2).of(reinterpret_cast<const void*>(\1)), [&] {{ \1(\3); }});", text
    )
    text = _DYNAMIC.sub(rf"\1* \2 = static_cast<\1*>({_SPACE}dynamic_memory());", text)
    text = _SHARED.sub(rf"auto& \2 = {_SPACE}block_array<\1\3>(__FILE__, __LINE__);", text)
    text = _BOUND.sub(rf"\2 {_SPACE}check_bound(\1);", text)
    for left in ("<<<", "__shared__", "__launch_bounds__", "asm "):
        if left in text:
            raise SystemExit(f"{path}: there is still {left!r} in it, which the emulation does not know")
    return f'#line 1 "{path}"\n{text}'


def main() -> None:
    """Translate all files of a folder."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    for path in sorted(path for path in source.rglob("*.cu*") if path.is_file()):
        place = path.relative_to(source)
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        replacement = Path(__file__).parent / "cuda" / place
        if replacement.is_file():
            (out / place).write_text(replacement.read_text(encoding="utf-8"), encoding="utf-8")
            continue
        target = out / (place.with_suffix(".cpp") if path.suffix == ".cu" else place)
        target.write_text(translated(path.read_text(encoding="utf-8"), path.as_posix()), encoding="utf-8")


if __name__ == "__main__":
    main()
