"""`deltafast align` on a folder as people have it: good photos, several faces, and files that are none of that."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from deltafast.cli import app
from deltafast.cli._photo_files import face_choice
from deltafast.errors import InvalidInputError
from deltafast.faces.alignment import Alignment
from deltafast.faces.pasting import paste_back
from deltafast.files import read_image, read_json

pytest.importorskip("dlib", reason="the extra `photos` (dlib-bin) is not installed")


@pytest.fixture(scope="module")
def woman() -> NDArray[np.uint8]:
    """A face of 256 x 256 pixels, loosely framed."""
    photo = pytest.importorskip("skimage.data").astronaut()[0:256, 95:351]
    return np.ascontiguousarray(photo)


@pytest.fixture
def photos(woman: NDArray[np.uint8], tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    image = Image.fromarray(woman)
    image.save(folder / "one.jpg", quality=95)
    Image.fromarray(np.hstack([woman, woman[:, ::-1]])).save(folder / "two.png")
    image.convert("CMYK").save(folder / "print.jpg")
    frames = [image.convert("P", palette=Image.Palette.ADAPTIVE), Image.new("P", image.size)]
    frames[0].save(folder / "palette.gif", save_all=True, append_images=frames[1:])
    (folder / "torn.jpg").write_bytes((folder / "one.jpg").read_bytes()[:4000])
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    Image.new("RGB", (300, 200), "green").save(folder / "meadow.png")
    (folder / "notes.png").write_text("no picture")
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 90_000, 90_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(99)))]
    parts = [struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks]
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return folder


def _align(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["align", *map(str, arguments)])
    return result.exit_code, result.output


def test_a_folder_is_aligned_and_what_cannot_be_is_named(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from deltafast.cli import main; main()", "align", str(photos), str(out)]
    done = subprocess.run(
        [*command, "--size", "128", "--faces", "all"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for name, reason in {
        "torn.jpg": "cannot be read as an image",
        "dot.png": "no face was found",
        "meadow.png": "no face was found",
        "notes.png": "cannot be read as an image",
        "bomb.png": "larger than 175 megapixels",
    }.items():
        (line,) = (line for line in done.stderr.splitlines() if f"skipped {photos / name}: " in line)
        assert reason in line
    assert "5 of 9 photos could not be aligned; the rest is done" in done.stderr
    assert "palette.gif is an animation: its first frame is taken" in done.stderr
    written = sorted(p.name for p in out.glob("*.png"))
    assert written == ["one.png", "palette.png", "print.png", "two-0.png", "two-1.png"]
    assert all(read_image(out / name).shape == (128, 128, 3) for name in written)

    record = read_json(out / "two.json")
    assert record["photo"] == "two.png"
    assert [face["file"] for face in record["faces"]] == ["two-0.png", "two-1.png"]
    photo = read_image(photos / "two.png")
    for face in record["faces"]:  # what was written is enough to put the faces back later
        back = paste_back(photo, read_image(out / face["file"]), Alignment.from_json(face))
        assert 0 < np.abs(back.astype(int) - photo).mean() < 2

    kept = (out / "one.png").stat().st_mtime_ns
    (out / "print.json").unlink()
    (out / "print.png").unlink()
    for name in ("torn.jpg", "dot.png", "meadow.png", "notes.png", "bomb.png"):
        (photos / name).unlink()
    code, text = _align(photos, out, "--size", 128, "--faces", "all")
    assert code == 0, text
    assert "1 face aligned, 4 photos seen" in text
    assert (out / "print.png").exists()
    assert (out / "one.png").stat().st_mtime_ns == kept
    code, text = _align(photos, out, "--size", 64, "--faces", "all")
    assert code == 0, text
    assert "other settings (size): those of this run's inputs are made anew" in text
    assert read_image(out / "one.png").shape == (64, 64, 3)


def test_one_photo_and_one_face_by_number(photos: Path, tmp_path: Path) -> None:
    code, text = _align(photos / "two.png", tmp_path / "second", "--faces", 1, "--size", 64)
    assert code == 0, text
    assert [p.name for p in (tmp_path / "second").glob("*.png")] == ["two.png"]
    assert json.loads((tmp_path / "second" / "two.json").read_text())["faces"][0]["index"] == 1
    code, text = _align(photos / "one.jpg", tmp_path / "third", "--faces", 5)
    assert code == 1
    assert "face 5 was asked for, but 1 found" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["absent", "out"], "neither a folder nor a file"),
        (["empty", "out"], "holds no images"),
        (["empty", "empty"], "another folder"),
        (["empty", "out", "--faces", "both"], "largest, all, or"),
    ],
)
def test_mistakes_end_in_one_line(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    code, text = _align(*arguments)
    assert code == 1
    assert text.startswith("error: ")
    assert words in text
    assert not (tmp_path / "out").exists()


def test_faces_are_chosen_by_word_or_number() -> None:
    assert face_choice("largest") == "largest"
    assert face_choice("12") == 12
    with pytest.raises(InvalidInputError, match="-1"):
        face_choice("-1")
