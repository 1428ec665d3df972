"""`make gpu-check` and `make gpu-bench` walk through all their steps without a GPU, and count what goes wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_bench, gpu_check, gpu_small
from benchmarks.gpu_machine import NO_GPU, Steps

_JUNIT = """<testsuites><testsuite>
<testcase classname="a" name="ok"/><testcase classname="a" name="bad"><failure/></testcase>
<testcase classname="a" name="broken"><error/></testcase>
<testcase classname="a" name="left"><skipped message="no weights"/></testcase>
</testsuite></testsuites>"""


def _run(program: object, monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["program", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        program.main()  # type: ignore[attr-defined]
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_gpu_check_rehearses_all_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "_TOOLS", ("memcheck",))
    assert _run(gpu_check, monkeypatch, "--rehearse", "--data", tmp_path, "--results", tmp_path / "out") == 0
    report = json.loads((tmp_path / "out/gpu-check.json").read_text())
    assert report["ok"]
    assert report["machine"]["rehearsal"]
    assert set(report["steps"]) == {"build", "tests", "memcheck"}
    assert report["tests"]["passed"]


@pytest.mark.slow
def test_gpu_bench_rehearses_all_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_bench, "_PROFILED", gpu_bench._PROFILED[:1])
    assert _run(gpu_bench, monkeypatch, "--rehearse", "--data", tmp_path, "--results", tmp_path / "out") == 0
    report = json.loads((tmp_path / "out/gpu-bench.json").read_text())
    assert report["ok"]
    assert report["machine"]["rehearsal"]
    cases = {line["case"] for line in report["headlines"]}
    assert any(case.startswith("mobilestylegan-1024") for case in cases)
    assert any(case.startswith("stylegan2-e-256") for case in cases)
    assert any(case.startswith("modulated_epilogue") for case in cases)
    (table,) = report["profiles"]
    assert table["rows"]
    assert table["layers"]
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".png", ".gz"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("program", [gpu_check, gpu_bench])
def test_without_a_gpu_nothing_is_run_or_written(
    program: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(program, monkeypatch, "--data", tmp_path, "--results", tmp_path / "out") == NO_GPU
    assert "nothing was run and nothing is claimed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_skipped_gpu_tests_count_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests.xml").write_text(_JUNIT)
    seen = gpu_check.read_tests(tmp_path / "tests.xml")
    assert seen == {"passed": ["a::ok"], "failed": ["a::bad", "a::broken"], "skipped": ["a::left (no weights)"]}

    def leave_report(steps: Steps, name: str, command: list[str], **_: object) -> bool:
        path = next(word for word in command if word.startswith("--junitxml=")).partition("=")[2]
        Path(path).write_text(_JUNIT)
        steps.results[name] = {"ok": True}
        return True

    monkeypatch.setattr(Steps, "run", leave_report)
    steps = Steps(60, tmp_path)
    gpu_check._run_tests(steps, rehearse=False)
    assert not steps.ok
    assert "a::left (no weights)" in steps.results["tests"]["reason"]


def test_steps_fail_by_exit_code_by_time_and_by_a_missing_program(tmp_path: Path) -> None:
    steps = Steps(5, tmp_path)
    assert steps.run("good", [sys.executable, "-c", "pass"])
    assert not steps.run("bad", [sys.executable, "-c", "raise SystemExit(7)"])
    assert not steps.run("slow", [sys.executable, "-c", "import time; time.sleep(60)"], share=0.05)
    assert not steps.run("missing", [tmp_path / "nothing"])
    reasons = {name: step.get("reason", "") for name, step in steps.results.items()}
    assert reasons["good"] == ""
    assert reasons["bad"] == "exit code 7"
    assert reasons["slow"] == "it did not end in time"
    assert "nothing" in reasons["missing"]
    assert not steps.ok
    assert not Steps(0, tmp_path).run("late", [sys.executable, "-c", "pass"])


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
