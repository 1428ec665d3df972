"""The ablation of loss="precise" compares with LINEAR, goes on where it stopped, and mixes no two tasks."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import precise_ablation
from deltafast.delta import DeltaConfig, PreciseConfig, training
from deltafast.errors import ResumeError
from deltafast.evaluation.readings import FaceReader
from deltafast.generators.base import Generator


@pytest.mark.slow
@pytest.mark.usefixtures("meter", "face_networks")
def test_rows_are_measured_once_and_kept(
    tmp_path: Path, repository_root: Path, mobilestylegan: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(precise_ablation.VARIATIONS, "short", {"steps": 1, "edits": 1, "faces": 2})
    monkeypatch.setattr(precise_ablation, "load_generator", lambda name: mobilestylegan)
    monkeypatch.setattr(precise_ablation, "DeltaConfig", partial(DeltaConfig, steps=200))  # enough for wider mouths
    monkeypatch.setattr(training, "measure_range", lambda *_: None)  # how far it holds is no part of the rows
    options = argparse.Namespace(
        latents=repository_root / "deltafast/assets/latents/two-heads.safetensors",
        attribute="smile",
        out=tmp_path / "rows.json",
        work=tmp_path / "work",
        faces=2,
        extent=1.0,
        precise=PreciseConfig(),
        vary=["short"],
    )
    result = precise_ablation.run(options)
    assert list(result["rows"]) == ["paper", "short"]
    for row in result["rows"].values():
        assert row["change"]["mean"] > 0  # mouths become wider
        assert 0.3 < row["identity_distance"]["share_of_linear"] < 3
    assert "of LINEAR's" in precise_ablation.as_table(result)

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(FaceReader, "read", fail)
    assert precise_ablation.run(options) == json.loads((tmp_path / "rows.json").read_text())
    options.extent = 0.5
    with pytest.raises(ResumeError, match="other settings"):
        precise_ablation.run(options)


def test_defaults_can_be_set_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["latents.safetensors", "--attribute", "yaw", "--out", "rows.json", "--asked-gain", "1.7"]
    options = precise_ablation._parse([*given, "--set", "steps=120", "--set", "leak=1"])
    assert options.precise == PreciseConfig(target_gain=1.7, steps=120, leak=1.0)
    for wrong in ("step=120", "steps=many", "steps"):
        with pytest.raises(SystemExit):
            precise_ablation._parse([*given, "--set", wrong])
        assert f"got '{wrong}'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        precise_ablation._parse([*given, "--set", "steps=0"])
    assert "steps must be" in capsys.readouterr().err
    assert precise_ablation._parse([*given, "--set", "target_gain=2"]).precise.target_gain == 2


def test_a_table_without_linear_says_so() -> None:
    interval = {"mean": 0.05, "low": 0.04, "high": 0.06, "n": 2}
    table = precise_ablation.as_table({"rows": {"paper": {"change": interval}}})
    assert table.splitlines()[-1] == "| paper | 0.05 | - | - |"
