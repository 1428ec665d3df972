"""The CPU benchmark of StyleGAN2 compares before it times, and writes what it measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from benchmarks import cpu_stylegan2
from deltafast.files import read_json


def test_a_run_writes_medians_of_contenders_that_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "speed.json"
    words = ["--rounds", "2", "--batches", "2", "--size", "8", "--no-compiled", "--results", str(path)]
    monkeypatch.setattr(cpu_stylegan2, "CONFIG_E", 256)  # 64 channels at 4 x 4, 32 at 8 x 8
    monkeypatch.setattr(sys, "argv", ["cpu_stylegan2", *words])
    cpu_stylegan2.main()
    report = read_json(path)
    found = report["batches"]["2"]
    assert len(found["seconds"]) == 6  # ours, four forms of stylegan2-ada, the convolutions alone
    assert all(0 < times["least"] <= times["median"] <= times["most"] for times in found["seconds"].values())
    assert found["best_plain_baseline"].startswith("stylegan2-ada")
    ratio = found["seconds"][found["best_plain_baseline"]]["median"] / found["seconds"]["deltafast"]["median"]
    assert found["faster_than_best_plain_baseline"] == pytest.approx(ratio)
    # conv1 at 4 x 4, conv0 on 4 x 4, conv1 at 8 x 8
    assert found["convolutions_flop"] == 2 * 2 * 9 * (64 * 64 * 16 + 64 * 32 * 16 + 32 * 32 * 64)
    assert max(found["largest_difference"].values()) < 1e-5


def test_other_images_are_refused() -> None:
    contenders = {"deltafast": lambda ws: torch.ones(1), "wrong": lambda ws: torch.ones(1) * 1.01}
    with pytest.raises(SystemExit, match="wrong makes other images"):
        cpu_stylegan2.check(contenders, torch.zeros(1))
