"""The quality program runs end to end on the real generator."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import reconstruction
from deltafast.files import read_image, read_json
from deltafast.generators.base import Generator
from deltafast.generators.load import load_generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.sequence_latents import GeneratorId, SequenceLatents
from deltafast.synthetic import female, render_sequences

SEEDS = (1000, 1001)


@pytest.fixture(scope="module")
def generator() -> Generator:
    pytest.importorskip("dlib", reason="the extra `photos` (dlib-bin) is not installed")
    return load_generator("mobilestylegan-ffhq")


@pytest.fixture(scope="module")
def latents(generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of yaw that are really three sampled faces, as W+ latents."""
    path = tmp_path_factory.mktemp("latents") / "latents.safetensors"
    frames = latents_from_seeds(generator, (1002, 1003, 1004), 0.5)  # [3, L, D]
    SequenceLatents(
        {"yaw": [-35.0, 0.0, 35.0]}, ["female"], {("yaw", "female"): frames}, GeneratorId.of(generator)
    ).save(path)
    return path


@pytest.mark.slow
def test_reconstruction_compares_every_frame(latents: Path, tmp_path: Path) -> None:
    render_sequences(
        tmp_path / "heads", attributes=["yaw"], identities=[female()], frames=3, size=128, supersampling=1, processes=1
    )
    out = tmp_path / "table.json"
    command = [str(tmp_path / "heads"), str(latents), "--out", str(out)]
    assert reconstruction.main(command) == 0
    result = read_json(out)
    assert [row["value"] for row in result["frames"]] == [-35.0, 0.0, 35.0]
    (sequence,) = result["sequences"]
    assert sequence["frames"] == 3
    assert 0 < sequence["psnr"] < 30
    assert sequence["landmark_error"] > 0.02  # other people altogether
    assert sequence["descriptor_distance"] > 0.3
    assert (tmp_path / "table.md").read_text(encoding="utf-8").count("\n| yaw | female |") == 1
    assert read_image(tmp_path / "table.png").shape == (2 * 128 + 4, 3 * 128, 3)
