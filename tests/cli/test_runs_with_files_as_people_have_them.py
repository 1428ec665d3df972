"""Runs over real folders: photos replaced, names and files of every kind, subfolders, generators of every channel."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_editors import random_editor
from small_generators import stylegan2_tensors, stylegan2_tensors_of_channels
from typer.testing import CliRunner

from deltafast.cli import app
from deltafast.files import read_image, read_json, write_png
from deltafast.generators.base import Generator
from deltafast.generators.build import build_generator
from deltafast.generators.load import save_generator
from deltafast.projection.encoder import Encoder, EncoderConfig
from deltafast.projection.sampling import slot_groups


def _saved(generator: Generator, folder: Path) -> tuple[Path, Path]:
    """Files of a generator and of a small encoder for it."""
    torch.manual_seed(0)
    config = EncoderConfig(64, generator.num_ws, generator.w_dim, slot_groups(generator.num_ws), 16)
    encoder = Encoder(config, generator.w_space, generator.name).eval().requires_grad_(False)
    encoder.w_avg.copy_(generator.w_avg)
    save_generator(generator, folder / "generator.safetensors")
    encoder.save(folder / "encoder.safetensors")
    return folder / "generator.safetensors", folder / "encoder.safetensors"


@pytest.fixture(scope="module")
def tools(tiny_generator: Generator, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options for the small generator and encoder, and a direction as the editor."""
    folder = tmp_path_factory.mktemp("tools")
    generator, encoder = _saved(tiny_generator, folder)
    np.save(folder / "older.npy", np.linspace(-1, 1, tiny_generator.w_dim)[None])
    editor = ["--editor", f"{folder / 'older.npy'}=0.5"]
    return [*editor, "--generator", str(generator), "--encoder", str(encoder), "--align", "never"]


def _noise(path: Path, seed: int) -> None:
    write_png(path, np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8))


def _run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_photo_replaced_under_its_name_is_edited_anew_and_the_others_kept(tools: list[str], tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name, seed in (("a", 0), ("b", 1)):
        _noise(photos / f"{name}.png", seed)
    assert _run("edit", photos, out, *tools)[0] == 0
    before = {name: (out / f"{name}_+0.5.png").stat().st_mtime_ns for name in "ab"}
    old = read_image(out / "a_+0.5.png")
    code, text = _run("edit", photos, out, *tools)
    assert (code, "0 faces edited" in text) == (0, True)
    stamp = (photos / "a.png").stat()
    _noise(photos / "a.png", 2)
    os.utime(photos / "a.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as copies keep them
    code, text = _run("edit", photos, out, *tools)
    assert (code, "1 face edited" in text) == (0, True)
    assert (read_image(out / "a_+0.5.png") != old).any()
    assert (out / "b_+0.5.png").stat().st_mtime_ns == before["b"]
    code, text = _run("edit", photos / "a.png", photos, *tools)
    assert code == 1
    assert "OUT must be another folder" in text


def test_names_subfolders_and_crafted_files_do_not_end_a_run(
    tools: list[str], tiny_generator: Generator, tmp_path: Path
) -> None:
    codes, out = tmp_path / "codes", tmp_path / "out"
    odd = os.fsdecode(b"na\xefve")
    ws = np.zeros((1, tiny_generator.num_ws, tiny_generator.w_dim), np.float32)
    for name in ("one.NPY", "deep/er/two.npy", f"{odd}.npy", "n" * 251 + ".npy"):
        (codes / name).parent.mkdir(parents=True, exist_ok=True)
        with open(codes / name, "wb") as stream:
            np.save(stream, ws)
    (codes / "torn.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (4, ")
    (codes / "torn.pt").write_bytes(b"\x80\x02.")
    np.save(codes / "huge.npy", np.full_like(ws, np.nan))
    code, text = _run("edit", codes, out, *tools)
    assert code == 1
    assert "3 of 7 inputs could not be edited; the rest is done" in text
    for name in ("torn.npy", "torn.pt", "huge.npy"):
        assert f"skipped {codes / name}: " in text
    assert "4 faces edited, 7 inputs seen" in text
    made = sorted(path.relative_to(out) for path in out.rglob("*.png"))
    assert len(made) == 4
    assert Path("one_+0.5.png") in made
    assert Path("deep/er/two_+0.5.png") in made
    code, text = _run("edit", codes, out, *tools)
    assert "0 faces edited" in text


def test_a_projected_photo_knows_its_input(tools: list[str], tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    _noise(photos / "trip" / "a.png", 0)
    (photos / "b.webp").write_bytes(b"RIFF" + bytes(40))
    words = ["project", photos, out, "--steps", "0", *tools[2:]]
    code, text = _run(*words)
    assert code == 1
    assert f"skipped {photos / 'b.webp'}: " in text
    first = load_file(out / "trip" / "a.safetensors")["ws"]
    assert list(read_json(out / "report.json")) == ["trip/a"]
    kept = (out / "trip" / "a.safetensors").stat().st_mtime_ns
    _run(*words)
    assert (out / "trip" / "a.safetensors").stat().st_mtime_ns == kept
    _noise(photos / "trip" / "a.png", 1)
    _run(*words)
    assert not torch.equal(load_file(out / "trip" / "a.safetensors")["ws"], first)


@pytest.mark.parametrize("command", ["edit", "project"])
def test_other_settings_make_finished_outputs_anew_and_say_so(command: str, tools: list[str], tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name, seed in (("a", 0), ("b", 1)):
        _noise(photos / f"{name}.png", seed)
    suffix, words = ("_+0.5.png", tools) if command == "edit" else (".safetensors", ["--steps", "0", *tools[2:]])
    change = ["--layers", "0-1"] if command == "edit" else ["--prefer", "fidelity"]
    assert _run(command, photos, out, *words)[0] == 0
    first = (out / f"a{suffix}").stat().st_mtime_ns
    _noise(photos / "c.png", 2)
    code, text = _run(command, photos, out, *words)  # an input is added: nothing finished is lost, or made again
    assert code == 0
    assert "other settings" not in text
    assert (out / f"a{suffix}").stat().st_mtime_ns == first
    code, text = _run(command, photos, out, *words, *change)
    assert code == 0, text
    (line,) = [line for line in text.splitlines() if "other settings" in line]
    assert "3 finished outputs" in line
    assert ("(layers)" if command == "edit" else "(refine)") in line
    assert all((out / f"{name}{suffix}").stat().st_mtime_ns > first for name in "abc")
    again = (out / f"a{suffix}").stat().st_mtime_ns
    assert "other settings" not in _run(command, photos, out, *words, *change)[1]
    assert (out / f"a{suffix}").stat().st_mtime_ns == again


def test_an_editor_trained_anew_under_its_name_edits_anew(
    tools: list[str], tiny_generator: Generator, tmp_path: Path
) -> None:
    def edited(seed: int) -> tuple[str, np.ndarray]:
        random_editor(tiny_generator, seed=seed).save(tmp_path / "yaw.safetensors")
        words = ["edit", tmp_path / "out", "--seeds", "0", "--editor", tmp_path / "yaw.safetensors", *tools[2:4]]
        code, text = _run(*words)
        assert code == 0, text
        return text, read_image(tmp_path / "out" / "seed0000_+1.png")

    edited(0)
    assert "0 faces edited" in edited(0)[0]
    text, image = edited(1)
    assert "1 face edited" in text
    assert (image != edited(0)[1]).any()


@pytest.mark.parametrize("channels", [1, 4])
def test_generators_of_one_and_of_four_channels_go_through_the_command_line(
    channels: int, face_networks: None, tmp_path: Path
) -> None:
    tensors = stylegan2_tensors_of_channels(channels, resolution=64, c_dim=3)
    config = {"architecture": "stylegan2", "img_resolution": 64}
    generator, encoder = _saved(build_generator(tensors, config, "odd"), tmp_path)
    np.save(tmp_path / "older.npy", np.ones(16))
    options = ["--generator", str(generator)]
    editor = ["--editor", str(tmp_path / "older.npy")]
    code, text = _run("edit", tmp_path / "seeds", "--seeds", "0-1", *editor, *options)
    assert code == 1
    assert "is conditional: choose one of its classes, 0 to 2" in text
    code, text = _run("edit", tmp_path / "seeds", "--seeds", "0-1", "--class", "2", *editor, *options)
    assert code == 0, text
    assert _run("edit", tmp_path / "other", "--seeds", "0-1", "--class", "1", *editor, *options)[0] == 0
    seen = read_image(tmp_path / "seeds" / "seed0001_+1.png")
    assert seen.shape == (64, 64, 3)
    assert (seen != read_image(tmp_path / "other" / "seed0001_+1.png")).any()
    _noise(tmp_path / "photos" / "a.png", 0)
    options += ["--encoder", str(encoder), "--align", "never"]
    code, text = _run("project", tmp_path / "photos", tmp_path / "latents", "--steps", "2", *options)
    assert code == 0, text
    code, text = _run("edit", tmp_path / "photos", tmp_path / "pasted", "--paste-back", *editor, *options)
    assert code == 0, text
    pasted = read_image(tmp_path / "pasted" / "a_+1.png")
    assert pasted.shape == (64, 64, 3)
    assert (pasted[24:40, 24:40] == 255).all(2).mean() < 0.95  # an image, not white alone


def test_a_class_is_refused_where_there_is_none(tools: list[str], tmp_path: Path) -> None:
    code, text = _run("edit", tmp_path / "out", "--seeds", "0", "--class", "1", *tools)
    assert code == 1
    assert "is not conditional" in text


def test_an_editor_of_a_fine_tuned_generator_is_vouched_for(
    tools: list[str], tiny_generator: Generator, tmp_path: Path
) -> None:
    tensors = stylegan2_tensors(resolution=64, seed=5)
    tuned = build_generator(tensors, {"architecture": "stylegan2", "img_resolution": 64}, "tuned")
    random_editor(tuned).save(tmp_path / "yaw.safetensors")
    words = ["edit", tmp_path / "out", "--seeds", "0", "--editor", tmp_path / "yaw.safetensors", *tools[2:4]]
    code, text = _run(*words)
    assert code == 1
    assert "--same-w-space on the command line" in text
    code, text = _run(*words, "--same-w-space")
    assert code == 0, text
    assert (tmp_path / "out" / "seed0000_+1.png").is_file()
