"""The quality programs run end to end on the real generator: resumable, and refusing what does not fit together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import edit_quality, reconstruction
from deltafast.evaluation.readings import FaceReader
from deltafast.faces.meter import FaceMeter
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
def test_edit_quality_measures_linear_and_a_second_run_synthesises_nothing(latents: Path, tmp_path: Path) -> None:
    command = ["--editors", "yaw", "--linear-only", "--slots", "0-2", "--latents", str(latents), "--faces", "1000-1001"]
    command += ["--tuning", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "result.json")]
    assert edit_quality.main([*command, "--sheet", str(tmp_path / "sheet.png")]) == 0
    first = read_json(tmp_path / "result.json")
    assert first["images_synthesised"] == 2 * 5  # two faces, five alphas of which one is the unedited face
    assert first["faces"]["seeds"] == list(SEEDS)
    assert first["faces"]["without_face"] == 0
    linear = first["editors"]["yaw"]["linear"]
    assert linear["identity_distance"][2] == 0
    assert linear["identity_distance_at_1"]["mean"] > 0
    assert first["run"]["versions"]["torch"] == torch.__version__
    assert read_image(tmp_path / "sheet.png").shape == (2 * 160, 5 * 160, 3)
    assert edit_quality.main(command) == 0
    second = read_json(tmp_path / "result.json")
    assert second["images_synthesised"] == 0
    assert second["editors"] == first["editors"]


@pytest.mark.slow
def test_reconstruction_compares_every_frame(latents: Path, tmp_path: Path) -> None:
    render_sequences(
        tmp_path / "heads", attributes=["yaw"], identities=[female()], frames=3, size=128, supersampling=1, processes=1
    )
    out = tmp_path / "table.json"
    command = [str(tmp_path / "heads"), str(latents), "--work", str(tmp_path / "work"), "--out", str(out)]
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


@pytest.mark.slow
def test_a_damaged_image_in_the_work_folder_is_made_anew(generator: Generator, tmp_path: Path) -> None:
    reader = FaceReader(generator, FaceMeter(), tmp_path)
    ws = latents_from_seeds(generator, SEEDS[:1], 0.7)
    first = reader.read(ws)
    (kept,) = tmp_path.rglob("*.png")
    (measured,) = tmp_path.rglob("*.npz")
    kept.write_bytes(kept.read_bytes()[:1000])
    measured.write_bytes(b"PK")
    second = reader.read(ws)
    assert reader.synthesised == 2
    np.testing.assert_array_equal(first.descriptors, second.descriptors)
    assert read_image(kept).shape == (512, 512, 3)


def test_reporting_faces_are_not_for_tuning(capsys: pytest.CaptureFixture[str]) -> None:
    assert edit_quality.main(["--tuning", "--faces", "0-3"]) == 1
    assert "seeds from 1000 on, --faces asks for 0" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "numbers"), [("0-3", [0, 1, 2, 3]), ("7", [7]), ("1, 4-5", [1, 4, 5])])
def test_lists_of_numbers(text: str, numbers: list[int]) -> None:
    assert edit_quality.number_list(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,1", "-4"])
def test_what_is_no_list_of_numbers_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert edit_quality.main(["--faces", text]) == 1
    assert "expected numbers" in capsys.readouterr().err


def test_the_verdict_table_reads_well() -> None:
    interval = {"mean": 0.2, "low": 0.1, "high": 0.3, "n": 4}
    method = {
        "measure": "yaw",
        "monotone_share": 0.95,
        "total_change": interval,
        "r2": interval,
        "identity_distance_at_1": interval,
        "leak": {"pitch": {"per_unit_of_target": 0.05}},
        "reached": {"monotone": True, "identity": False},
    }
    cost = {"ours": interval, "theirs": interval, "difference": interval, "verdict": "worse"}
    result = {
        "faces": {"seeds": [0, 1], "psi": 0.7},
        "between_different_faces": {},
        "editors": {
            "yaw": {
                "ours": method,
                "linear": method,
                "matched": {"target_change": interval, "costs": {"identity_distance": cost}},
            }
        },
    }
    text = edit_quality.markdown(result)
    assert "| yaw | ours | yaw | 0.2 | 95 % | 0.2 | 0.2 (missed: identity) | pitch 0.05 |" in text
    assert "| yaw | 0.2 | identity_distance | 0.2 | 0.2 | 0.2 [0.1, 0.3] | worse |" in text
