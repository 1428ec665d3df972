"""The CPU comparison on a small generator: what it checks, how it counts and what it writes."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from small_generators import mobilestylegan_tensors

from benchmarks.cpu_contenders import torch_contenders
from benchmarks.cpu_counters import Case
from benchmarks.cpu_mobilestylegan import as_text, compare
from benchmarks.cpu_picture import main, stylegan2
from deltafast.files import read_json, write_json
from deltafast.generators.build import build_generator


@pytest.fixture
def generator():
    """A MobileStyleGAN of 32 x 32 pixels with random weights."""
    return build_generator(mobilestylegan_tensors(), {"architecture": "mobilestylegan", "img_resolution": 32}, "small")


def test_all_contenders_are_checked_and_timed(generator):
    others = [("absent", "the package absent is not installed"), ("twin", lambda w: generator.synthesis(spread(w)))]

    def spread(w):
        return w.unsqueeze(1).expand(-1, generator.num_ws, -1)

    result = compare(generator, torch_contenders(generator, compiled=False), others, threads=1, rounds=2)
    assert {row["contender"] for row in result["forward"]} == {
        "deltafast", "plain torch, NCHW", "plain torch, NHWC", "twin",
    }  # fmt: skip
    assert {row["contender"] for row in result["backward"]} == {"deltafast", "plain torch, NCHW", "plain torch, NHWC"}
    assert result["skipped"] == {"absent": "the package absent is not installed"}
    per_pixel = (4 * 14 + 9 * 4) + (14 * 16 + 9 * 14)  # of a block: pointwise and depthwise, two layers
    convolutions = 16 * 16 * 16 * 9 + (8 * 8 + 16 * 16) * per_pixel + 16 * 16 * 16 * 12
    styles = 16 * (16 + 2 * 16 + 2 * 4 + 2 * 14 + 16)
    assert result["operations"] == 2 * (convolutions + styles)
    assert result["floor_s"] == result["operations"] / result["sgemm_operations_per_s"]
    times = [row["median_s"] for row in result["forward"]]
    assert times == sorted(times)
    assert "left out: absent: the package absent is not installed" in as_text(result)


def test_a_wrong_image_is_not_timed(generator):
    wrong = [("wrong", lambda w: torch.zeros(1, 3, 32, 32))]
    with pytest.raises(SystemExit, match="wrong: its image errs by"):
        compare(generator, {}, wrong, threads=1, rounds=2)


def test_the_picture_shows_every_contender_and_needs_a_result(tmp_path, capsys):
    row = {"contender": "deltafast", "median_s": 0.1}
    mobile = {"generator": "g", "resolution": 32, "floor_s": 0.05, "forward": [row], "backward": [row]}
    write_json(tmp_path / "cpu_mobilestylegan.json", mobile)
    seconds = {"slow": {"median": 0.3}, "deltafast": {"median": 0.1}}
    write_json(tmp_path / "cpu_stylegan2.json", {"network": "n", "batches": {"1": {"seconds": seconds}}})
    taken = {"deltafast": {"median_s": 0.001}, "plain torch": {"median_s": 0.002}}
    write_json(tmp_path / "cpu_delta.json", {"results": {"training step": taken}})
    panels = stylegan2(read_json(tmp_path / "cpu_stylegan2.json"))
    assert list(panels[0].milliseconds) == ["deltafast", "slow"]
    assert main(["--results", str(tmp_path), "--out", str(tmp_path / "p.png")]) == 0
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > 500
    assert main(["--results", str(tmp_path / "none"), "--out", str(tmp_path / "p.png")]) == 1
    assert "holds no result" in capsys.readouterr().err


def test_counters_know_what_a_layer_must_do():
    case = Case("forward", 4, 6, 8)
    assert case.operations == 2 * 64 * (24 + 36)
    assert case.moved == 4 * 64 * 10
    assert Case("image_backward", 4, 12, 8).operations == 2 * 64 * 48
    assert Case("image_backward", 4, 12, 8).moved == 4 * 64 * 32
