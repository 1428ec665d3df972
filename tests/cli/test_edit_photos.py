"""`deltafast edit` on photos as people have them: aligned, edited, pasted back, and bad files named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from safetensors.torch import load_file
from typer.testing import CliRunner

from deltafast.cli import app
from deltafast.files import colour_profile, read_image
from deltafast.generators.base import Generator

pytest.importorskip("dlib", reason="the extra `photos` (dlib-bin) is not installed")


@pytest.fixture(scope="module")
def woman() -> NDArray[np.uint8]:
    """A photo of one face of 256 x 300 pixels."""
    return np.ascontiguousarray(pytest.importorskip("skimage.data").astronaut()[0:256, 95:395])


@pytest.fixture
def photos(woman: NDArray[np.uint8], tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(woman).save(folder / "one.png", icc_profile=profile)
    Image.fromarray(np.hstack([woman, woman[:, ::-1]])).convert("CMYK").save(folder / "two.jpg", quality=95)
    (folder / "torn.jpg").write_bytes((folder / "two.jpg").read_bytes()[:3000])
    dots = [Image.new("RGB", (1, 1), colour) for colour in ("red", "blue")]
    dots[0].save(folder / "dot.gif", save_all=True, append_images=dots[1:])
    Image.new("RGB", (300, 200), "green").save(folder / "meadow.png")
    (folder / "notes.webp").write_text("no picture")
    return folder


def test_a_folder_of_photos_is_edited_and_pasted_back_and_what_cannot_be_is_named(
    photos: Path, woman: NDArray[np.uint8], mobilestylegan: Generator, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from deltafast.cli import main; main()", "edit", str(photos), str(out)]
    command += ["--editor", "yaw", "--alpha", "0.5", "--paste-back", "--faces", "all", "--latents", "--batch-size", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for name, reason in {
        "torn.jpg": "cannot be read as an image",
        "dot.gif": "no face was found",
        "meadow.png": "no face was found",
        "notes.webp": "cannot be read as an image",
    }.items():
        (line,) = (line for line in done.stderr.splitlines() if f"skipped {photos / name}: " in line)
        assert reason in line
    assert "dot.gif is an animation: its first frame is taken" in done.stderr
    assert "4 of 6 inputs could not be edited; the rest is done" in done.stderr
    assert "3 faces edited" in done.stdout
    assert sorted(p.name for p in out.glob("*.png")) == ["one_+0.5.png", "two_+0.5.png"]
    assert load_file(out / "two.safetensors")["ws"].shape == (2, mobilestylegan.num_ws, 512)
    assert colour_profile(out / "one_+0.5.png") == colour_profile(photos / "one.png") is not None
    edited = read_image(out / "one_+0.5.png")
    assert edited.shape == woman.shape
    changed = (edited != woman).any(axis=-1)
    assert 0.05 < changed.mean() < 0.9
    assert not changed[:, -60:].any(), "what is far from the face keeps its bytes"
    assert np.abs(edited.astype(int) - woman)[changed].mean() < 60, "it is still much the same photo"
    both = read_image(out / "two_+0.5.png")
    original = read_image(photos / "two.jpg")
    halves = (both != original).any(axis=-1)
    assert halves[:, :300].mean() > 0.05
    assert halves[:, 300:].mean() > 0.05

    kept = (out / "one_+0.5.png").stat().st_mtime_ns
    for name in ("torn.jpg", "dot.gif", "meadow.png", "notes.webp"):
        (photos / name).unlink()
    result = CliRunner().invoke(app, command[3:])
    assert result.exit_code == 0, result.output
    assert "0 faces edited, 2 inputs seen" in result.output
    assert (out / "one_+0.5.png").stat().st_mtime_ns == kept


def test_several_faces_of_a_photo_are_written_by_number(
    photos: Path, mobilestylegan: Generator, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["edit", str(photos / "two.jpg"), str(out), "--editor", "smile=0.5", "--faces", "all"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in out.glob("*.png")) == ["two-0_+0.5.png", "two-1_+0.5.png"]
    assert read_image(out / "two-0_+0.5.png").shape == (1024, 1024, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photos", "out", "--align", "sometimes"], "--align is one of auto, always, never"),
        (["photos", "out", "--paste-back", "--paste-mask", "hair"], "--paste-mask is one of face, head, crop"),
        (["photos", "out", "--faces", "-2"], "--faces is largest"),
        (["latents", "out", "--paste-back"], "needs photos; latents/a.npy holds latents"),
        (["out", "--seeds", "1", "--paste-back"], "sampled faces come without one"),
    ],
)
def test_mistakes_end_in_one_line(
    photos: Path,
    mobilestylegan: Generator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latents").mkdir()
    np.save(tmp_path / "latents" / "a.npy", np.zeros((1, 512), np.float32))
    result = CliRunner().invoke(app, ["edit", *arguments, "--editor", "yaw"])
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
    assert words in result.output
    assert not (tmp_path / "out").exists()


def test_images_that_are_not_aligned_are_refused_when_alignment_is_off(
    photos: Path, mobilestylegan: Generator, tmp_path: Path
) -> None:
    words = ["edit", str(photos / "one.png"), str(tmp_path / "out"), "--editor", "yaw", "--align", "never"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "one.png: an aligned face is square" in result.output
