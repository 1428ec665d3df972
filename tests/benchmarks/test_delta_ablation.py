"""The ablation of E and D runs, goes on where it stopped, and refuses to mix two tasks in one file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from deltafast.sequence_latents import GeneratorId, SequenceLatents


@pytest.fixture
def latents(tmp_path: Path) -> Path:
    random = torch.Generator().manual_seed(0)
    direction = torch.randn(4, 8, generator=random)
    t = torch.tensor([-1.0, 0.0, 1.0])[:, None, None]
    names = [f"i{k}" for k in range(6)]
    tensors = {("yaw", n): torch.randn(1, 4, 8, generator=random) + t * direction for n in names}
    SequenceLatents({"yaw": [-1.0, 0.0, 1.0]}, names, tensors, GeneratorId("g", "f", "w")).save(
        tmp_path / "latents.safetensors"
    )
    return tmp_path / "latents.safetensors"


def test_ablation_measures_every_setting_once(
    latents: Path, tmp_path: Path, repository_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository_root / "benchmarks"))
    import delta_ablation

    out = tmp_path / "ablation.json"
    common = [str(latents), "--attribute", "yaw", "--out", str(out), "--held-out", "2", "--seeds", "1", "--steps", "5"]
    assert delta_ablation.main([*common, "--vary", "dim"]) == 0
    first = json.loads(out.read_text())
    assert set(first["settings"]) == {"default", "dim=2", "dim=4", "dim=8", "dim=32"}
    assert first["settings"]["default"]["mean"]["linear_mean"] < 1e-6  # the same change for every identity
    assert 0 < first["settings"]["default"]["mean"]["transfer"] < 10
    assert delta_ablation.main([*common, "--vary", "dim,identities"]) == 0
    second = json.loads(out.read_text())
    assert second["settings"]["dim=2"] == first["settings"]["dim=2"]
    assert set(second["settings"]) - set(first["settings"]) == {"identities=2", "identities=4"}
    assert delta_ablation.main([*common, "--vary", "dim", "--slots", "0"]) == 1
    assert delta_ablation.main([*common, "--vary", "mood"]) == 1
    sys.modules.pop("delta_ablation")
