"""The benchmark of tuning steps makes every gradient that it says it times, and writes what it found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import tuning_step
from benchmarks.contenders import load_subject
from deltafast.files import read_json


@pytest.mark.parametrize("subject", tuning_step.SUBJECTS)
def test_a_tuning_step_has_the_gradients_of_the_latents_and_of_all_weights(subject: str) -> None:
    generator = load_subject(subject, torch.device("cpu"), tiny=True)
    ws = generator.w_avg.expand(1, generator.num_ws, -1) + 0.1
    calls = tuning_step.steps(generator, ws)
    of_latents, *others = calls["tuning step"]()
    assert [g.shape for g in others] == [weight.shape for weight in generator.synthesis.parameters()]
    assert sum(bool(g.any()) for g in others) >= len(others) - 1  # noise of strength 0 moves nothing
    (alone,) = calls["latent step"]()
    torch.testing.assert_close(of_latents, alone)


def test_it_writes_medians_and_their_ratio(tmp_path: Path) -> None:
    out = tmp_path / "tuning_step.json"
    assert tuning_step.main(["--rehearse", "--rounds", "2", "--out", str(out)]) == 0
    for result in read_json(out)["results"].values():
        ratio = result["tuning step"]["median_s"] / result["latent step"]["median_s"]
        assert result["latent steps in a tuning step"] == pytest.approx(ratio)
