"""The quality program runs end to end on the real generator."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import reconstruction
from benchmarks.asked_amounts import Request, summary
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


def _face(before: float | None, after: list[float | None], there: list[bool]) -> dict[str, object]:
    """A face as dlib and WHENet see it, the second three degrees farther."""
    read = [None if angle is None else {"dlib": angle, "whenet": angle + 3} for angle in (before, *after)]
    return {"before": read[0], "after": read[1:], "there": there}


def test_errors_are_of_changes_for_by_and_of_readings_for_to() -> None:
    faces = [_face(4.0, [15.0, 20.0], [True, False]), _face(-2.0, [8.0, None], [True, True])]
    near, far = summary(Request("yaw", "by", (10.0, 20.0)), faces)
    assert near["errors"]["dlib"] == near["errors"]["whenet"]
    assert near["errors"]["dlib"]["mean_absolute"] == pytest.approx(0.5)  # 1 and 0
    assert (near["faces"], near["unseen"], near["there"]) == (2, 0, 1.0)
    assert far["errors"]["dlib"]["mean"] == pytest.approx(-4.0)  # one was not got there, and counts; one is not seen
    assert (far["faces"], far["unseen"], far["there"]) == (1, 1, 0.5)
    (straight,) = summary(Request("yaw", "to", (0.0,)), [_face(30.0, [3.0], [True]), _face(1.0, [-1.0], [True])])
    assert straight["errors"]["dlib"]["mean_absolute"] == pytest.approx(2.0)
    assert straight["errors"]["dlib"]["percentile_90"] == pytest.approx(2.8)
    assert straight["errors"]["whenet"]["mean"] == pytest.approx(4.0)
    (nobody,) = summary(Request("yaw", "to", (0.0,)), [_face(None, [None], [False])])
    assert (nobody["errors"]["dlib"]["mean"], nobody["unseen"]) == (None, 1)
