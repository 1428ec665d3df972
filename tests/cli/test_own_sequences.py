"""A new attribute from one's own pictures: folders of frames, or pairs of photos, to an editor and its edits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from deltafast.cli import app
from deltafast.delta import load_editor
from deltafast.files import read_image, read_json, write_png
from deltafast.generators.base import Generator
from deltafast.generators.load import save_generator
from deltafast.projection.encoder import Encoder, EncoderConfig
from deltafast.projection.sampling import slot_groups


def _run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def _picture(path: Path, seed: int, brightness: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 120, (64, 64, 3))
    write_png(path, (noise + brightness).astype(np.uint8))


@pytest.fixture
def tools(tiny_generator: Generator, tmp_path: Path) -> list[str]:
    """The small generator and an encoder for it, as files."""
    torch.manual_seed(0)
    groups = slot_groups(tiny_generator.num_ws)
    encoder = Encoder(
        EncoderConfig(64, tiny_generator.num_ws, tiny_generator.w_dim, groups, 16),
        tiny_generator.w_space,
        tiny_generator.name,
    )
    encoder.w_avg.copy_(tiny_generator.w_avg)
    encoder.save(tmp_path / "encoder.safetensors")
    save_generator(tiny_generator, tmp_path / "generator.safetensors")
    return ["--generator", str(tmp_path / "generator.safetensors"), "--encoder", str(tmp_path / "encoder.safetensors")]


def _train(sequences: Path, tools: list[str], tmp_path: Path) -> Path:
    """From sequences to an editor file, by the commands that people type."""
    code, text = _run("project", sequences, tmp_path / "latents", "--steps", "0", *tools)
    assert code == 0, text
    editor = tmp_path / "bright.safetensors"
    options = ["--attribute", "bright", "--out", editor, "--steps", "20", "--dim", "2", "--width", "4"]
    code, text = _run("train", tmp_path / "latents", *options)
    assert code == 0, text
    return editor


def test_folders_of_frames_become_an_editor(tools: list[str], tmp_path: Path) -> None:
    for seed, name in enumerate(("anna", "ben")):
        for frame, brightness in ((2, 0), (9, 60), (10, 120)):  # 10 comes after 9, whatever the letters say
            _picture(tmp_path / "pictures" / name / f"frame {frame}.png", seed, brightness)
    words = ["sequences", tmp_path / "pictures", tmp_path / "sequences", "--attribute", "bright", "--align", "never"]
    code, text = _run(*words, "--values", "-1,0,1")
    assert code == 0, text
    assert "2 identities (anna, ben)" in text
    frames = read_json(tmp_path / "sequences" / "manifest.json")["frames"]
    assert [frame["value"] for frame in frames] == [-1, 0, 1] * 2
    seen = [read_image(tmp_path / "sequences" / frame["file"]).mean() for frame in frames[:3]]
    assert seen == sorted(seen)
    editor = _train(tmp_path / "sequences", tools, tmp_path)
    assert load_editor(editor).values == (-1.0, 0.0, 1.0)
    code, text = _run("edit", tmp_path / "out", "--seeds", "0", "--editor", editor, *tools)
    assert code == 0, text
    assert (tmp_path / "out" / "seed0000_+1.png").is_file()
    _picture(tmp_path / "pictures" / "ben" / "frame 9.png", 5, 60)
    assert _run(*words, "--values", "-1,0,1")[0] == 0
    again = read_json(tmp_path / "sequences" / "manifest.json")["frames"]
    assert [a == b for a, b in zip(frames, again, strict=True)] == [True, True, True, True, False, True]


def test_pairs_of_photos_become_an_editor(tools: list[str], tmp_path: Path) -> None:
    for seed, name in enumerate(("anna", "ben", "cleo")):
        _picture(tmp_path / "pairs" / f"{name}_before.png", seed, 0)
        _picture(tmp_path / "pairs" / f"{name}_after.PNG", seed, 100)
    out = tmp_path / "sequences"
    code, text = _run("sequences", tmp_path / "pairs", out, "--attribute", "bright", "--align", "never")
    assert code == 0, text
    frames = read_json(out / "manifest.json")["frames"]
    assert [frame["parameters"]["picture"] for frame in frames[:2]] == ["anna_before.png", "anna_after.PNG"]
    assert load_editor(_train(out, tools, tmp_path)).values == (0.0, 1.0)
    write_png(out / "bright" / "ben" / "001.png", np.zeros((64, 64, 3), np.uint8))
    code, text = _run("project", out, tmp_path / "other", "--steps", "0", *tools)
    assert code == 1
    assert "001.png" in text
    assert "has changed" in text


def test_folders_of_before_and_after_are_pairs_and_not_people(tmp_path: Path) -> None:
    for folder, brightness in (("With", 100), ("without", 0)):
        for seed, name in enumerate(("anna", "ben", "cleo")):
            _picture(tmp_path / "pictures" / folder / f"{name}.png", seed, brightness)
    words = ["sequences", tmp_path / "pictures", tmp_path / "sequences", "--attribute", "bright", "--align", "never"]
    code, text = _run(*words)
    assert code == 0, text
    assert "3 identities (anna, ben, cleo)" in text
    frames = read_json(tmp_path / "sequences" / "manifest.json")["frames"]
    seen = [read_image(tmp_path / "sequences" / frame["file"]).mean() for frame in frames]
    assert all(before < after for before, after in zip(seen[::2], seen[1::2], strict=True))
    (tmp_path / "pictures/With/ben.png").rename(tmp_path / "pictures/With/benny.png")
    code, text = _run(*words)
    assert code == 1
    assert "only one has 'ben'" in text


def test_what_is_no_sequence_is_told_in_words(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _picture(tmp_path / "one" / "anna-0.png", 0, 0)
    _picture(tmp_path / "one" / "anna-1.png", 0, 9)
    for seed, (name, count) in enumerate((("anna", 2), ("ben", 3))):
        for frame in range(count):
            _picture(tmp_path / "uneven" / name / f"{frame}.png", seed, frame)
    _picture(tmp_path / "odd" / "holiday.png", 0, 0)
    for name in ("anna", "ben"):
        _picture(tmp_path / "torn" / f"{name}-0.png", 0, 0)
        (tmp_path / "torn" / f"{name}-1.png").write_bytes(b"torn")
    for folder, words in {
        "absent": "not a folder",
        "one": "at least two identities",
        "uneven": "anna 2, ben 3",
        "odd": "IDENTITY-before",
        "torn": "2 of 4 pictures cannot be used",
    }.items():
        code, text = _run("sequences", tmp_path / folder, out, "--attribute", "x", "--align", "never")
        assert code == 1
        assert words in text
        assert not (out / "manifest.json").exists()
    for values in ("1,x", "1,1", "0,1,2"):
        arguments = [tmp_path / "torn", tmp_path / "o", "--attribute", "x", "--values", values]
        code, text = _run("sequences", *arguments)
        assert code == 1
        assert "values" in text
