"""Instructions of MobileStyleGAN's CPU kernels, counted by callgrind, and the time they take, without torch.

    python -m benchmarks.cpu_counters --out benchmarks/results/cpu_counters.json [--before COMMIT ...]

Compiles `benchmarks/cpu_counters.cpp` with the kernels of this checkout, and with those of earlier commits for
comparison. Callgrind knows no AVX-512, so instructions are those of the AVX2 kernels; times are taken for each
instruction set that this processor runs. Needs g++ and valgrind. Writes JSON.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ceilings import measure_ceilings
from deltafast.evaluation.machine import describe_run
from deltafast.files import write_json

_ROOT = Path(__file__).resolve().parent.parent
_FLAGS = {
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma", "-mprefer-vector-width=512"],
    "baseline": [],
}
_COMMON = ["-O3", "-DNDEBUG", "-g", "-std=c++20", "-fopenmp-simd", "-ffp-contract=fast", "-DDELTAFAST_X86"]


@dataclass(frozen=True)
class Case:
    """A kernel at the layer where it takes longest, and what it must do at least."""

    kernel: str
    channels: int
    outputs: int
    size: int

    @property
    def operations(self) -> int:
        """Multiplications and additions of the products and of the depthwise convolution."""
        depthwise = 0 if self.kernel.startswith("image") else 9 * self.channels
        return 2 * self.size**2 * (self.channels * self.outputs + depthwise)

    @property
    def moved(self) -> int:
        """Bytes of activations that the kernel reads and writes, each once."""
        backward = "backward" in self.kernel
        return 4 * self.size**2 * (self.channels * (2 if backward else 1) + self.outputs * (2 if backward else 1))


CASES = (
    Case("forward", 64, 64, 512),
    Case("wavelet_forward", 32, 64, 512),
    Case("image_forward", 64, 12, 512),
    Case("forward", 512, 512, 64),
    Case("backward", 64, 64, 512),
    Case("wavelet_backward", 32, 64, 512),
    Case("image_backward", 64, 12, 512),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the program; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu_counters.json"))
    parser.add_argument("--before", nargs="*", default=[], help="commits to compare with, oldest first")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args(arguments)
    for tool in ("g++", "valgrind"):
        if shutil.which(tool) is None:
            print(f"error: {tool} is not installed", file=sys.stderr)
            return 1
    import torch

    torch.set_num_threads(1)
    ceilings = measure_ceilings(torch.device("cpu"), torch.float32)
    with tempfile.TemporaryDirectory() as name:
        versions = {commit: _checkout(commit, Path(name)) for commit in options.before}
        rows = [
            row
            for version, folder in {**versions, "now": _ROOT}.items()
            for row in _count(version, folder, Path(name), options.repeats)
        ]
    result = {
        "run": describe_run(),
        "sgemm_operations_per_s": ceilings.operations_per_second,
        "copy_bytes_per_s": ceilings.bytes_per_second,
        "rows": [{**row, "floor_s": ceilings.floor(row["operations"], row["moved"])} for row in rows],
    }
    write_json(options.out, result)
    for row in result["rows"]:
        times = ", ".join(f"{isa} {1e3 * seconds:.1f} ms" for isa, seconds in row["seconds"].items())
        print(f"{row['version']:12} {row['case']:32} {row['instructions'] / 1e6:8.1f} M instructions; {times}")
    return 0


def _checkout(commit: str, folder: Path) -> Path:
    """Return a folder with the kernels of `commit`."""
    target = folder / commit
    target.mkdir()
    archive = subprocess.run(
        ["git", "archive", commit, "csrc", "CMakeLists.txt"], cwd=_ROOT, check=True, capture_output=True
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(target)], input=archive, check=True)
    return target


def _count(version: str, source: Path, folder: Path, repeats: int) -> list[dict[str, Any]]:
    program = _compile(source, folder / f"counters-{version}")
    rows = []
    for case in CASES:
        seconds: dict[str, float] = {}
        for isa in _FLAGS:
            runs = [_run(program, case, isa, repeats) for _ in range(3)]
            if None not in runs:
                seconds[isa] = statistics.median(run for run in runs if run is not None)
        rows.append(
            {
                "version": version,
                "case": f"{case.kernel} {case.channels} -> {case.outputs}, {case.size} x {case.size}",
                "operations": case.operations,
                "moved": case.moved,
                "instructions": _instructions(program, case, folder),
                "seconds": seconds,
            }
        )
    return rows


def _compile(source: Path, program: Path) -> Path:
    """Compile every kernel for every instruction set, and the driver; returns the program."""
    include = f"-I{source / 'csrc'}"
    kernels = source / "csrc" / "kernels" / "cpu"
    listed = re.search(r"set\(KERNEL_SOURCES\s+([^)]*)\)", _cmake(source))
    names = [Path(line).name for line in listed.group(1).split()] if listed else []
    objects = []
    for isa, flags in _FLAGS.items():
        for name in names or sorted(path.name for path in kernels.glob("*.cpp")):
            target = program.with_name(f"{program.name}-{isa}-{name}.o")
            call = ["g++", *_COMMON, *flags, include, f"-DDELTAFAST_ISA={isa}", "-c", str(kernels / name)]
            subprocess.run([*call, "-o", str(target)], check=True)
            objects.append(str(target))
    shared = [str(kernels / name) for name in ("dispatch.cpp", "parallel.cpp")]
    driver = str(Path(__file__).with_suffix(".cpp"))
    subprocess.run(["g++", *_COMMON, include, "-o", str(program), driver, *shared, *objects], check=True)
    return program


def _cmake(source: Path) -> str:
    return (source / "CMakeLists.txt").read_text(encoding="utf-8")


def _arguments(case: Case, isa: str, repeats: int) -> list[str]:
    return [case.kernel, isa, str(repeats), str(case.channels), str(case.outputs), str(case.size)]


def _run(program: Path, case: Case, isa: str, repeats: int) -> float | None:
    """Seconds of processor time for one run; None where the processor lacks the instruction set."""
    call = [str(program), *_arguments(case, isa, repeats)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None


def _instructions(program: Path, case: Case, folder: Path) -> int:
    """Instructions of one run of the AVX2 kernel, the driver's own preparations taken off."""

    def counted(repeats: int) -> int:
        out = folder / "callgrind.out"
        call = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", str(program)]
        subprocess.run([*call, *_arguments(case, "avx2", repeats)], check=True, capture_output=True)
        found = re.search(r"^(?:summary|totals): (\d+)", out.read_text(encoding="utf-8"), re.MULTILINE)
        if found is None:
            raise SystemExit("callgrind wrote no total")
        return int(found.group(1))

    return counted(1) - counted(0)


if __name__ == "__main__":
    sys.exit(main())
