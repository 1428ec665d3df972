"""docs/gpu-verified.md is what the committed results say; failures, stops and rehearsals do not look better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_kernels import KERNELS
from benchmarks.ledger import ledger

_MACHINE = {"gpu": "NVIDIA H100", "torch": "2.11.0+cu130", "torch_cuda": "13.0", "commit": "abc123"}


def _report(folder: Path, step: str, *parts: dict[str, Any], ok: bool | None = True, **more: Any) -> None:
    report = {"step": step, "machine": _MACHINE, "ok": ok, "seconds": 12.3, "parts": list(parts), **more}
    (folder / f"gpu-{step}.json").write_text(json.dumps(report))


def _result(direction: str, ok: bool = True) -> dict[str, Any]:
    row = {"name": f"upfirdn2d {direction}", "direction": direction, "error": 1.0, "allowed": 2.0, "ok": ok}
    return row if ok else row | {"reason": "error 1, allowed 0.5"}


def _cells(page: str, name: str) -> list[str]:
    (line,) = (line for line in page.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_is_what_the_committed_results_say(repository_root: Path) -> None:
    page = (repository_root / "docs/gpu-verified.md").read_text(encoding="utf-8")
    assert page == ledger(repository_root / "benchmarks/results"), "run `make ledger`; nobody edits that page by hand"


def test_without_results_nothing_is_claimed(tmp_path: Path) -> None:
    page = ledger(tmp_path)
    for kernel in KERNELS:
        assert _cells(page, kernel.name)[1:] == ["not yet run", *[""] * 6]
    assert "yes" not in page


def test_a_kernel_is_judged_by_its_own_results_tools_and_timings(tmp_path: Path) -> None:
    rows = [_result("forward"), _result("forward"), _result("backward", ok=False)]
    part = {"name": "upfirdn2d", "ok": False, "evidence": rows, "reason": "1 of 3 results are wrong"}
    _report(tmp_path, "kernels", part, ok=False)
    tools = [
        {"name": f"{tool} upfirdn2d", "ok": tool != "racecheck", "reason": "exit code 9"}
        for tool in ("memcheck", "racecheck")
    ]
    _report(tmp_path, "sanitizer", *tools, ok=False)
    timing = {"case": "upfirdn2d up=2 64 x 1024, float16, batch 8", "name": "t", "baseline": False}
    timings = [
        {**timing, "median_s": 2e-3, "share_of_floor": 0.5},
        {**timing, "median_s": 1e-3, "share_of_floor": 0.8},
        {**timing, "median_s": 9e-3, "baseline": True, "share_of_floor": 0.1},
    ]
    _report(tmp_path, "speed", {"name": "benchmarks", "ok": True, "evidence": timings}, headlines=[])
    page = ledger(tmp_path)
    forward = _cells(page, "upfirdn2d, forward")
    assert forward[1:4] == ["NVIDIA H100", "2.11.0+cu130, CUDA 13.0", "`abc123`"]
    assert forward[4] == "yes, 2 results"
    assert forward[5] == "memcheck clean, **racecheck: exit code 9**"
    assert forward[6].startswith("2.000 ms, upfirdn2d up=2")
    assert forward[7] == "50% to 80%"
    backward = _cells(page, "upfirdn2d, backward (the same kernel, transposed)")
    assert backward[4] == "**no**: upfirdn2d backward, error 1, allowed 0.5"
    assert _cells(page, "to rgb, forward (backward: cuBLAS)")[1] == "not yet run"


def test_a_crash_before_any_result_is_no_success(tmp_path: Path) -> None:
    crashed = {"name": "philox", "ok": False, "evidence": [], "reason": "it crashed with SIGSEGV"}
    _report(tmp_path, "kernels", crashed, ok=False)
    assert _cells(ledger(tmp_path), "philox, words and normals")[4] == "**no**: it crashed with SIGSEGV"
    lost = [{"name": "philox", "ok": False, "reason": "it never ended"}]
    _report(tmp_path, "kernels", {**crashed, "evidence": lost}, ok=False)
    assert _cells(ledger(tmp_path), "philox, words and normals")[4].startswith("**no**: philox")


def test_a_step_that_was_stopped_is_named_and_a_rehearsal_is_refused(tmp_path: Path) -> None:
    _report(tmp_path, "tests", {"name": "t", "ok": True, "evidence": [{"name": "a", "ok": True}]}, ok=None)
    page = ledger(tmp_path)
    assert "**stopped before its end**" in page
    assert _cells(page, "the tests for GPUs")[4] == "1 passed, 0 failed or skipped"
    (tmp_path / "gpu-build.json").write_text(json.dumps({"machine": {"rehearsal": True}}))
    with pytest.raises(SystemExit, match="rehearsal"):
        ledger(tmp_path)
