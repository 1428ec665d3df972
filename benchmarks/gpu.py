"""`make gpu`: on a machine with a GPU, everything that is worth knowing about CUDA, the most important first.

    python -m benchmarks.gpu [--only STEP,STEP] [--kernels OP,OP] [--minutes M] [--rehearse]

Every step has a share of the time that is left and is cut off at it; its results stand in RESULTS/gpu-STEP.json,
written anew whenever one of its parts ends, so that whoever is stopped leaves what was found. With the pictures and
traces in gpu-profile.zip these are eight files. `--rehearse` walks through every step on a CPU, on tiny sizes.
Ends with 0 where all chosen steps succeeded, 1 otherwise, 3 where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu_data import what_travels
from benchmarks.gpu_kernels import AROUND_CUDNN, ops
from benchmarks.gpu_machine import ROOT, environment, require_gpu
from benchmarks.gpu_parts import Part, Parts
from benchmarks.gpu_test_parts import parts_of_tests

_ALL_MINUTES, _SOME_MINUTES, _REHEARSAL_MINUTES = 6.0, 4.0, 30.0
_TOOLS = ("memcheck", "racecheck", "synccheck")
_PROFILED = ("stylegan2-f-1024", "mobilestylegan-1024")
_ARCHIVE = 15 * 2**20  # bytes of gpu-profile.zip; files that come back may have 16 MiB
_REHEARSED_SPEEDS = "(stylegan2-e-256 or test_modulated_epilogue) and not cuda and not float16 and not compile"

Report = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What all steps know: the machine, the carried data, where results go, the chosen ops, whether it is for real."""

    machine: Report
    data: Path
    results: Path
    ops: Sequence[str]
    rehearse: bool

    @property
    def device(self) -> str:
        """The device of everything."""
        return "cpu" if self.rehearse else "cuda"

    @property
    def cores(self) -> int:
        """How many processes may be busy."""
        return int(self.machine.get("cores", 2))


@dataclass(frozen=True)
class Step:
    """A step: its share of the time that is left, how many parts run at once, the parts, and what they come to."""

    name: str
    what: str
    share: float
    parallel: Callable[[Run], int]
    parts: Callable[[Run, Path], list[Part]]
    conclude: Callable[[Run, Report, Path], None] = lambda run, report, folder: None


def _module(name: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", name, *map(str, arguments)]


def _limit(run: Run, seconds: float) -> float:
    return 6 * seconds if run.rehearse else seconds


def _build_parts(run: Run, folder: Path) -> list[Part]:
    """Build `_C` in place for this GPU alone; see that it has its kernels and torch's stream; unpack the weights."""
    seen = "import torch\nfrom deltafast.ops import _library as l\nprint(l._C.build_info(), torch.__version__)\n"
    if run.rehearse:
        return [Part("import", [sys.executable, "-c", seen], evidence=False)]
    build = [sys.executable, "build_backend/toolchain.py", "--inplace"]
    headers = run.data / "python-headers" / ".".join(map(str, sys.version_info[:2]))
    if not (Path(_include()) / "Python.h").is_file() and headers.is_dir():
        build += ["--python-headers", str(headers.resolve())]
    variables = {
        "TORCH_CUDA_ARCH_LIST": os.environ.get("TORCH_CUDA_ARCH_LIST", run.machine["capability"]),
        "MAX_JOBS": os.environ.get("MAX_JOBS", str(run.cores)),
    }
    seen += "assert l.HAS_CUDA_KERNELS, 'no CUDA kernels in this build'\n"
    seen += "assert l._C.cuda_stream_is_reachable(), 'the stream of torch is not reachable'"
    return [
        Part("build", build, variables, evidence=False),
        Part("stream", [sys.executable, "-c", seen], evidence=False),
        Part("weights", _module("benchmarks.gpu_data", run.data, "--unpack"), evidence=False),
    ]


def _include() -> str:
    import sysconfig

    return sysconfig.get_path("include")


def _kernel_parts(run: Run, folder: Path) -> list[Part]:
    """Every op of a kernel in a process of its own."""
    chosen = [*run.ops, *(op for op in AROUND_CUDNN if len(run.ops) == len(ops()))]
    return [
        Part(op, _module("benchmarks.gpu_small", "--op", op, "--device", run.device), timeout=_limit(run, 60))
        for op in chosen
    ]


def _network_parts(run: Run, folder: Path) -> list[Part]:
    arguments = ["--data", run.data, "--device", run.device]
    names = ("golden", "graph", "training", "precise", "compiled")
    return [Part(name, _module("benchmarks.gpu_networks", name, *arguments), timeout=_limit(run, 90)) for name in names]


def _speed_parts(run: Run, folder: Path) -> list[Part]:
    """One process and one run: syntheses first, then E and D, then the ops; what compiles last."""
    chosen = (
        ["--rehearse", "-k", _REHEARSED_SPEEDS]
        if run.rehearse
        else ["-m", "gpu", "--skips-fail", "--benchmark-seconds", "0.3"]
    )
    files = [f"benchmarks/{name}.py" for name in ("test_generator_speed", "test_delta", "test_ops")]
    command = _module("pytest", "--benchmark", "-q", "-p", "no:cacheprovider", "-p", "benchmarks.evidence_plugin")
    report = ["--benchmark-report", str(folder / "report")]
    return [Part("benchmarks", [*command, *chosen, *report, *files])]


def _conclude_speed(run: Run, report: Report, folder: Path) -> None:
    from benchmarks.headlines import as_text, headlines

    rows = [row for part in report["parts"] for row in part["evidence"] if "median_s" in row]
    report["headlines"] = headlines(rows)
    print(as_text(report["headlines"]), flush=True)


def _test_parts(run: Run, folder: Path) -> list[Part]:
    return parts_of_tests(rehearse=run.rehearse, timeout=_limit(run, 150))


def _sanitizer_parts(run: Run, folder: Path) -> list[Part]:
    """Every op under every tool, our kernels alone; a rehearsal runs them under none."""
    parts = []
    for tool in _TOOLS:
        ours = ["--kernel-name", "kns=deltafast", "--report-api-errors", "no", "--error-exitcode", "9"]
        under = [] if run.rehearse else ["compute-sanitizer", "--tool", tool, *ours]
        for op in run.ops:
            command = [*under, *_module("benchmarks.gpu_small", "--op", op, "--device", run.device)]
            variables = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}  # so that every tensor has bounds of its own
            parts.append(Part(f"{tool} {op}", command, variables, timeout=_limit(run, 90)))
    return parts


def _profile_parts(run: Run, folder: Path) -> list[Part]:
    tiny = ["--rehearse", "--batch", "2"] if run.rehearse else []
    subjects = _PROFILED[:1] if run.rehearse else _PROFILED
    return [
        Part(subject, _module("benchmarks.profile_synthesis", folder / "profile", "--subject", subject, *tiny))
        for subject in subjects
    ]


def _conclude_profile(run: Run, report: Report, folder: Path) -> None:
    """Pack pictures and traces into one file that may come back, the small ones first."""
    import zipfile

    found = [path for path in (folder / "profile").glob("*") if path.suffix in (".png", ".gz")]
    target = run.results / "gpu-profile.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(found, key=lambda path: path.stat().st_size):
            if target.stat().st_size + path.stat().st_size < _ARCHIVE:
                archive.write(path, path.name)
    report["archive"] = {"file": target.name, "left_out": len(found) - len(zipfile.ZipFile(target).namelist())}


STEPS = (
    Step("build", "the build for this GPU alone", 0.35, lambda run: 1, _build_parts),
    Step("kernels", "every kernel against its reference", 0.25, lambda run: min(8, run.cores), _kernel_parts),
    Step("networks", "syntheses and trainings", 0.3, lambda run: min(5, run.cores), _network_parts),
    Step("speed", "all speeds, baselines and floors", 0.5, lambda run: 1, _speed_parts, _conclude_speed),
    Step("tests", "the tests for GPUs", 0.55, lambda run: min(12, run.cores), _test_parts),
    Step("sanitizer", "compute-sanitizer", 0.7, lambda run: min(12, run.cores), _sanitizer_parts),
    Step("profile", "profiles of two syntheses", 1.0, lambda run: 1, _profile_parts, _conclude_profile),
)


def run_steps(steps: Sequence[Step], run: Run, seconds: float) -> bool:
    """Run `steps` within so many seconds, write each one's JSON, print the timetable; return whether all succeeded."""
    begun = time.monotonic()
    reports: list[Report] = []
    built = True
    run.results.mkdir(parents=True, exist_ok=True)
    for step in steps:
        left = seconds - (time.monotonic() - begun)
        report = {"step": step.name, "what": step.what, "machine": run.machine, "ok": None}
        report |= {"seconds_allowed": round(max(0.0, step.share * left), 1), "parts": []}
        reports.append(report)
        if not built or left < 1:
            report |= {
                "ok": False,
                "reason": "no time was left" if built else "there is nothing to run: see gpu-build.json",
            }
            _write(run, report)
            continue
        _run_step(step, run, report, begun, step.share * left)
        if step.name == "build":
            built = any(part["ok"] for part in report["parts"] if part["name"] in ("stream", "import"))
    print(timetable(reports))
    return all(report["ok"] for report in reports)


def _run_step(step: Step, run: Run, report: Report, begun: float, seconds: float) -> None:
    started = time.monotonic()
    report["begun_s"] = round(started - begun, 1)
    print(f"== {step.name}: {step.what}, at most {seconds:.0f} s", flush=True)
    _write(run, report)

    def keep(part: Report) -> None:
        report["parts"].append(part)
        report["seconds"] = round(time.monotonic() - started, 1)
        _write(run, report)
        print(f"   {part['name']}: {part['seconds']} s, {part.get('reason', 'ok')}", flush=True)
        if part.get("output"):
            print("      | " + "\n      | ".join(part["output"].splitlines()[-12:]), flush=True)

    with tempfile.TemporaryDirectory() as name:
        parallel = step.parallel(run)
        variables = environment(run.data, rehearse=run.rehearse) | _threads(run, parallel)
        Parts(Path(name), variables, keep).run(step.parts(run, Path(name)), seconds, parallel)
        try:
            step.conclude(run, report, Path(name))
        except Exception as error:  # what was measured is kept all the same
            report["reason"] = f"{type(error).__name__}: {error}"
    report["seconds"] = round(time.monotonic() - started, 1)
    report["ok"] = bool(report["parts"]) and "reason" not in report and all(part["ok"] for part in report["parts"])
    _write(run, report)


def _threads(run: Run, parallel: int) -> dict[str, str]:
    """Return variables that share the cores among parts side by side; one that runs alone has them all."""
    if parallel == 1:
        return {}
    each = str(max(1, run.cores // parallel))
    return {"OMP_NUM_THREADS": each, "MKL_NUM_THREADS": each, "TORCHINDUCTOR_COMPILE_THREADS": each}


def _write(run: Run, report: Report) -> None:
    path = run.results / f"gpu-{report['step']}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


def timetable(reports: Sequence[Report]) -> str:
    """Return a line for each step: when it began, what it took of what it was allowed, how it went."""
    lines = [f"{'step':10} {'begun':>7} {'took':>7} {'allowed':>8}  parts"]
    for report in reports:
        failed = [part["name"] for part in report["parts"] if not part["ok"]]
        verdict = report.get("reason") or (f"FAILED: {', '.join(failed)}" if failed else "ok")
        times = (report.get("begun_s", "-"), report.get("seconds", "-"), report["seconds_allowed"])
        lines.append("{:10} {:>7} {:>7} {:>8}  ".format(report["step"], *times) + f"{len(report['parts'])}, {verdict}")
    return "\n".join(lines)


def _names(text: str, known: Sequence[str], what: str) -> list[str]:
    chosen = [name for name in text.replace(" ", ",").split(",") if name]
    for name in chosen:
        if name not in known:
            raise SystemExit(f"gpu: there is no {what} {name!r}; there are {', '.join(known)}")
    return [name for name in known if not chosen or name in chosen]


def main() -> None:
    """Run the chosen steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"steps, with commas: {','.join(step.name for step in STEPS)}")
    parser.add_argument("--kernels", default="", help="ops whose kernels are checked, with commas; all unless given")
    parser.add_argument("--data", type=Path, default=ROOT / ".gpu-data", help="folder that `make gpu-data` filled")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the JSON")
    parser.add_argument("--minutes", type=float, help="time in all; 6, or 4 with --only")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, on tiny sizes; nothing counts")
    options = parser.parse_args()
    chosen = _names(options.only, [step.name for step in STEPS], "step")
    kernels = _names(options.kernels, ops(), "kernel")
    machine = require_gpu(options.data, rehearse=options.rehearse)
    usual = _SOME_MINUTES if options.only else _ALL_MINUTES
    minutes = options.minutes or (_REHEARSAL_MINUTES if options.rehearse else usual)
    run = Run(machine, options.data, options.results, kernels, options.rehearse)
    if options.rehearse:
        print(what_travels(options.data), flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no part outlives the program
    steps = [step for step in STEPS if step.name in ("build", *chosen)]  # nothing runs without a build
    ok = run_steps(steps, run, 60 * minutes)
    print(f"gpu: {'passed' if ok else 'FAILED'}; {run.results}/gpu-*.json")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
