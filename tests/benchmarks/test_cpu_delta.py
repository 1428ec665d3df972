"""The CPU benchmark of E and D checks its contenders, times them in turn, and writes what it found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import cpu_delta
from benchmarks.delta_cases import EditCase, FlowCase, TrainingCase
from deltafast.ops import DeltaSizes


def test_it_writes_medians_and_ratios(tmp_path: Path) -> None:
    out = tmp_path / "results" / "cpu_delta.json"
    assert cpu_delta.main(["--out", str(out), "--rounds", "2", "--pairs", "2", "--latents", "5"]) == 0
    report = json.loads(out.read_text())
    step, edit = report["results"]["training step, 2 pairs of identities"], report["results"]["edit, 5 latents"]
    flow = report["results"]["flow to alpha 1.33, 5 latents"]
    for result in (step, edit, flow):
        ratio = result["plain torch"]["median_s"] / result["deltafast"]["median_s"]
        assert result["speedup"] == pytest.approx(ratio)
    assert edit["deltafast"]["latents_per_second"] == pytest.approx(5 / edit["deltafast"]["median_s"])
    assert report["run"]["threads"] == torch.get_num_threads()


def test_a_wrong_result_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    case = TrainingCase(2, DeltaSizes(2, 20, 6, 2, 4))
    case.check(cpu)
    edit = EditCase(3, cpu)
    edit.check()
    from benchmarks import delta_cases

    flow = FlowCase(3, cpu, 1.0)
    flow.check()
    right = delta_cases.delta_loss
    monkeypatch.setattr(delta_cases, "delta_loss", lambda *a, **o: 1.001 * right(*a, **o))
    with pytest.raises(AssertionError, match="delta_loss forward"):
        case.check(cpu)
    monkeypatch.setattr(type(edit), "ours", lambda self, ws: self.plain(ws) + 1e-3)
    with pytest.raises(AssertionError, match="delta_edit"):
        edit.check()
    monkeypatch.setattr(type(flow), "ours", lambda self, ws: self.plain(ws) + 1e-3)
    with pytest.raises(AssertionError, match="delta_flow"):
        flow.check()


def test_the_plain_training_learns_too() -> None:
    case = TrainingCase(2, DeltaSizes(2, 20, 6, 1, 4))
    for training in (case.plain(torch.device("cpu")), case.ours(torch.device("cpu"))):
        losses = []
        for k in range(60):
            result = training.advance()
            losses.append(float(result) if result is not None else float(training.losses[k]))
        assert sum(losses[-10:]) < sum(losses[:10])
