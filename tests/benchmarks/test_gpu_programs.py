"""`make gpu` keeps what it found, whatever happens to a part, a step or the whole; and it rehearses on a CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_small
from benchmarks.evidence import Evidence, read_rows, settled
from benchmarks.gpu_kernels import KERNELS, ops
from benchmarks.gpu_machine import NO_GPU, require_gpu
from benchmarks.gpu_parts import Part, Parts
from benchmarks.gpu_test_parts import gpu_test_files, parts_of_tests

_ROW = """
import json, sys
path = sys.argv[sys.argv.index("--evidence") + 1]
def row(**values):
    with open(path, "a") as file:
        file.write(json.dumps(values) + "\\n")
def seen(name):
    try:
        return any(json.loads(line)["name"] == name for line in open(path))
    except FileNotFoundError:
        return False
"""


def _part(name: str, program: str, **options: Any) -> Part:
    return Part(name, [sys.executable, "-S", "-c", _ROW + program], **options)


def _run(parts: list[Part], folder: Path, seconds: float = 60.0, parallel: int = 2) -> dict[str, dict[str, Any]]:
    records: dict[str, dict[str, Any]] = {}
    Parts(folder, {}, lambda record: records.update({record["name"]: record})).run(parts, seconds, parallel)
    return records


GOOD = _part("good", "row(name='a', ok=True)")


# ---- what can happen to a part ------------------------------------------------------------------------------------


def test_a_part_that_fails_or_is_wrong_keeps_its_rows_and_its_output(tmp_path: Path) -> None:
    fails = _part("fails", "row(name='a', ok=True); print('said before'); sys.exit(7)")
    wrong = _part("wrong", "row(name='a', ok=True); row(name='b', ok=False); sys.exit(1)")
    missing = Part("missing", [tmp_path / "no-such-program"])
    records = _run([fails, wrong, missing, GOOD], tmp_path)
    assert records["fails"]["reason"] == "exit code 7"
    assert records["fails"]["output"].strip() == "said before"
    assert records["fails"]["evidence"] == [{"name": "a", "ok": True}]
    assert records["wrong"]["reason"] == "1 of 2 results are wrong; exit code 1"
    assert "no-such-program" in records["missing"]["reason"]
    assert records["good"]["ok"]
    assert "output" not in records["good"]


def test_a_part_that_crashes_is_begun_again_behind_what_crashed(tmp_path: Path) -> None:
    program = """
import os
for name in "abc":
    if not seen(name):
        row(name=name, begun=True)
        if name == "b":
            os.abort()
        row(name=name, ok=True)
"""
    record = _run([_part("crashes", program)], tmp_path)["crashes"]
    assert not record["ok"]
    assert record["starts"] == 2
    assert {row["name"]: row["ok"] for row in record["evidence"]} == {"a": True, "b": False, "c": True}
    at_once = _run([_part("at once", "import os; os.kill(os.getpid(), 11)")], tmp_path)["at once"]
    assert at_once["reason"] == "it crashed with SIGSEGV"
    assert at_once["starts"] == 1


def test_a_part_that_hangs_is_stopped_with_its_children(tmp_path: Path) -> None:
    program = f"""
import subprocess, time
row(name="a", ok=True)
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(120)"])
open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
time.sleep(120)
"""
    begun = time.monotonic()
    records = _run([_part("hangs", program, timeout=6), GOOD], tmp_path)
    assert time.monotonic() - begun < 60
    assert records["hangs"]["reason"] == "it did not end within 6 s"
    assert records["hangs"]["evidence"] == [{"name": "a", "ok": True}]
    assert records["good"]["ok"]
    child = int((tmp_path / "pid").read_text())
    status = Path(f"/proc/{child}/status")
    assert not status.exists() or "zombie" in status.read_text()


def test_at_the_end_of_the_time_parts_are_cut_off_and_the_rest_is_named(tmp_path: Path) -> None:
    slow = _part("slow", "import time; row(name='a', ok=True); time.sleep(120)")
    records = _run([GOOD, slow, _part("late", "pass")], tmp_path, seconds=8, parallel=1)
    assert records["good"]["ok"]
    assert records["slow"]["reason"] == "it was cut off when the step's time was over"
    assert records["slow"]["evidence"] == [{"name": "a", "ok": True}]
    assert records["late"]["reason"] == "the step's time was over before it began"


def test_a_part_without_memory_gets_the_gpu_for_itself_once(tmp_path: Path) -> None:
    """The first start finds another part holding the memory, the second one is alone."""
    held, started = str(tmp_path / "held"), str(tmp_path / "started")
    other = f"import os, time; open({held!r}, 'w'); time.sleep(5); os.remove({held!r})"
    greedy = f"""
import os, time
while not os.path.exists({held!r}) and not os.path.exists({started!r}):
    time.sleep(0.01)
open({started!r}, "w")
if os.path.exists({held!r}):
    sys.exit("torch.OutOfMemoryError: CUDA out of memory.")
row(name="a", ok=True)
"""
    never = "print('torch.OutOfMemoryError: CUDA out of memory.'); sys.exit(1)"
    parts = [_part("other", other), _part("greedy", greedy), GOOD, _part("never", never)]
    records = _run(parts, tmp_path)
    assert records["greedy"]["ok"], records["greedy"]
    assert records["greedy"]["starts"] == 2
    assert records["good"]["ok"]
    assert records["never"]["reason"] == "it ran out of the GPU's memory"


def test_rows_that_were_cut_off_or_never_ended_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    evidence = Evidence(path)
    evidence.begin("a")
    evidence.add(name="a", ok=True)
    evidence.begin("b")
    with open(path, "a") as file:
        file.write('{"name": "c", "o')
    rows = settled(read_rows(path))
    assert [(row["name"], row["ok"]) for row in rows] == [("a", True), ("b", False)]
    assert Evidence(path).seen("b")
    assert not Evidence(path).seen("c")


# ---- what can happen to a step, and to the program ------------------------------------------------------------------


def _program(tmp_path: Path) -> gpu.Run:
    machine = {"rehearsal": True, "cores": 2, "commit": "abc"}
    return gpu.Run(machine, tmp_path, tmp_path / "out", ops(), True)


def _step(name: str, *parts: Part, share: float = 0.9, **options: Any) -> gpu.Step:
    return gpu.Step(name, f"for the test: {name}", share, lambda run: 1, lambda run, folder: list(parts), **options)


def _reports(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.stem.removeprefix("gpu-"): json.loads(path.read_text()) for path in folder.glob("gpu-*.json")}


def test_every_step_leaves_its_json_whatever_became_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(run: gpu.Run, report: dict[str, Any], folder: Path) -> None:
        raise KeyError("headlines")

    steps = [
        _step("build", _part("import", "pass")),
        _step("kernels", _part("fails", "sys.exit(3)"), GOOD),
        _step("speed", GOOD, conclude=broken),
        _step("tests", _part("slow", "import time; row(name='a', ok=True); time.sleep(120)"), share=0.1),
        _step("sanitizer", GOOD),
    ]
    assert not gpu.run_steps(steps, _program(tmp_path), 80)
    reports = _reports(tmp_path / "out")
    assert {name: report["ok"] for name, report in reports.items()} == {
        "build": True,
        "kernels": False,
        "speed": False,
        "tests": False,
        "sanitizer": True,
    }
    assert [part["ok"] for part in reports["kernels"]["parts"]] == [False, True]
    assert "KeyError" in reports["speed"]["reason"]
    assert reports["speed"]["parts"][0]["evidence"] == [{"name": "a", "ok": True}]
    assert reports["tests"]["parts"][0]["evidence"] == [{"name": "a", "ok": True}]
    assert reports["tests"]["seconds"] <= reports["tests"]["seconds_allowed"] + 5
    assert all(report["machine"]["commit"] == "abc" for report in reports.values())
    table = capsys.readouterr().out
    assert "FAILED: fails" in table
    assert "FAILED: slow" in table


def test_without_a_build_nothing_else_is_begun_and_every_step_says_so(tmp_path: Path) -> None:
    steps = [_step("build", _part("stream", "sys.exit(1)")), _step("kernels", GOOD)]
    assert not gpu.run_steps(steps, _program(tmp_path), 60)
    report = _reports(tmp_path / "out")["kernels"]
    assert report["reason"] == "there is nothing to run: see gpu-build.json"
    assert report["parts"] == []


def test_without_time_left_a_step_is_named_all_the_same(tmp_path: Path) -> None:
    assert not gpu.run_steps([_step("build", GOOD)], _program(tmp_path), 0.5)
    assert _reports(tmp_path / "out")["build"]["reason"] == "no time was left"


def test_compute_sanitizer_that_is_not_there_is_said_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = gpu.Run({"cores": 2}, tmp_path, tmp_path / "out", ["philox"], False)
    sanitizer = next(step for step in gpu.STEPS if step.name == "sanitizer")
    gpu.run_steps([_step("build", _part("stream", "pass")), sanitizer, _step("profile", GOOD)], run, 60)
    reports = _reports(tmp_path / "out")
    assert [part["name"] for part in reports["sanitizer"]["parts"]] == [
        "memcheck philox",
        "racecheck philox",
        "synccheck philox",
    ]
    assert all("compute-sanitizer" in part["reason"] for part in reports["sanitizer"]["parts"])
    assert reports["profile"]["ok"]


def test_the_whole_program_stopped_from_outside_leaves_what_ended(tmp_path: Path, repository_root: Path) -> None:
    program = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(repository_root)!r}, {str(Path(__file__).parent)!r}]
import signal
import test_gpu_programs as t
from benchmarks import gpu
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
slow = t._part("slow", "import time; row(name='b', ok=True); open({str(tmp_path / "now")!r}, 'w'); time.sleep(120)")
gpu.run_steps([t._step("build", t._part("import", "pass")), t._step("kernels", t.GOOD, slow)],
              t._program(Path({str(tmp_path)!r})), 200)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not (tmp_path / "now").exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 1
    report = _reports(tmp_path / "out")["kernels"]
    assert report["ok"] is None
    assert [part["name"] for part in report["parts"]] == ["good"]
    assert report["parts"][0]["evidence"] == [{"name": "a", "ok": True}]


def test_steps_and_kernels_are_chosen_by_name_and_others_are_refused() -> None:
    names = [step.name for step in gpu.STEPS]
    assert names == ["build", "kernels", "networks", "speed", "tests", "sanitizer", "profile"]
    assert gpu._names("profile,kernels", names, "step") == ["kernels", "profile"]
    assert gpu._names("", names, "step") == names
    with pytest.raises(SystemExit, match="no step 'speeds'; there are build, "):
        gpu._names("speeds", names, "step")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_nothing_is_run_or_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        require_gpu(tmp_path, rehearse=False)
    assert ended.value.code == NO_GPU
    assert "nothing was run and nothing is claimed" in capsys.readouterr().err


# ---- the rehearsal ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("loss_networks")
def test_the_whole_program_rehearses_on_a_cpu(tmp_path: Path, repository_root: Path) -> None:
    options = ["--rehearse", "--kernels", "philox", "--data", tmp_path, "--results", tmp_path / "out"]
    # a pytest of its own inside, which must not take itself for a worker of this one
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *map(str, options)],
        cwd=repository_root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    reports = _reports(tmp_path / "out")
    assert set(reports) == {step.name for step in gpu.STEPS}
    assert all(report["ok"] and report["machine"]["rehearsal"] for report in reports.values())
    files = list((tmp_path / "out").iterdir())
    assert len(files) <= 8
    assert all(path.stat().st_size < 16 * 2**20 for path in files)
    cases = {line["case"] for line in reports["speed"]["headlines"]}
    assert any(case.startswith("stylegan2-e-256") for case in cases)
    assert any(case.startswith("modulated_epilogue") for case in cases)
    assert reports["profile"]["parts"][0]["evidence"][0]["rows"]
    networks = {part["name"]: len(part["evidence"]) for part in reports["networks"]["parts"]}
    assert set(networks) == {"golden", "graph", "compiled", "training", "precise"}
    assert min(networks.values()) >= 2
    assert len(done.stdout.splitlines()[-2 - len(reports) :]) == len(reports) + 2  # the timetable and the verdict


def test_small_cases_agree_and_a_wrong_kernel_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    assert gpu_small.disagreements("cpu", torch.float32) == []
    real = gpu_small._results

    def off(case: gpu_small.Case, impl: str, device: str, dtype: torch.dtype | None) -> list[torch.Tensor]:
        results = real(case, impl, device, dtype)
        return [value * (1 + 1e-3) for value in results] if impl == "native" else results

    monkeypatch.setattr(gpu_small, "_results", off)
    wrong = gpu_small.disagreements("cpu", torch.float32)
    assert any(line.startswith("modulated_epilogue") for line in wrong)
    assert any(line.startswith("upfirdn2d") for line in wrong)


def test_every_kernel_has_small_cases_and_every_cuda_file_a_kernel(repository_root: Path) -> None:
    folder = repository_root / "csrc/kernels/cuda"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.cu")}
    assert files == {kernel.source for kernel in KERNELS}
    with_cases = {case.op for case in gpu_small.cases(torch.float32)} | {"philox"}
    assert set(ops()) <= with_cases


# ---- the tests for GPUs -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_pytest_collects_tests_alone_and_the_parts_hold_every_one_for_gpus(repository_root: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    shown = subprocess.run(command, cwd=repository_root, capture_output=True, text=True, timeout=600)
    assert shown.returncode == 0, shown.stdout[-2000:]
    collected = {line.split("::")[0] for line in shown.stdout.splitlines() if "::" in line}
    assert all(path.startswith("tests/") for path in collected)
    files = {str(path.relative_to(repository_root)) for path in gpu_test_files()}
    assert collected
    assert collected <= files
    parts = parts_of_tests(rehearse=False, timeout=1.0)
    assert {str(part.command[-3]) for part in parts} == files


_TESTS = """
import os
import pytest

@pytest.mark.parametrize("k", range(4))
def test_number(k):
    if k == 1:
        os.abort()
    if k == 2:
        pytest.skip("no weights")
    if k == 3:
        error, allowed = 3.0, 2.0
        assert error <= allowed, f"op forward: error {error}, allowed {allowed}"
"""


def test_outcomes_of_tests_are_kept_one_by_one_and_a_crash_costs_one(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "benchmarks.evidence_plugin"]
    command += ["--skips-fail"]
    part = Part("tests", [*command, "-c", os.devnull, str(tmp_path / "test_it.py")])
    record = _run([part], tmp_path)["tests"]
    rows = {row["name"][-2]: row for row in record["evidence"]}
    assert rows["0"]["ok"]
    assert not rows["1"]["ok"]
    assert "a crash" in rows["1"]["reason"]
    assert rows["2"]["skipped"]
    assert not rows["2"]["ok"]
    assert rows["3"]["times_allowed"] == 1.5
    assert record["reason"].startswith("3 of 4 results are wrong")
