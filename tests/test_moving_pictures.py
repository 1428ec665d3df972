"""Moving pictures as files: the frames, in their order, at their rate, in every format."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.moving_pictures import write_moving_picture


@pytest.fixture
def frames() -> NDArray[np.uint8]:
    """Six frames in which a bright square wanders over a gradient."""
    rows, columns = np.mgrid[:48, :64]
    made = []
    for k in range(6):
        frame = np.stack([rows * 3, columns * 2, 80 + 0 * rows], 2).astype(np.uint8)
        frame[8:20, 4 + 8 * k : 16 + 8 * k] = 250
        made.append(frame)
    return np.stack(made)


def _read(path: Path) -> tuple[NDArray[np.uint8], list[float]]:
    """Return the frames of a file and how long each is shown, in seconds."""
    if path.suffix == ".mp4":
        av = pytest.importorskip("av")
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate
            shown = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        return shown, [float(1 / rate)] * len(shown)
    pictures, durations = [], []
    with Image.open(path) as image:
        for frame in ImageSequence.Iterator(image):
            pictures.append(np.asarray(frame.convert("RGB")))
            durations.append(frame.info["duration"] / 1000)
    return np.stack(pictures), durations


@pytest.mark.parametrize("suffix", ["gif", "webp", "mp4"])
def test_the_frames_come_back_in_their_order_and_rate(tmp_path: Path, frames: NDArray[np.uint8], suffix: str) -> None:
    if suffix == "mp4":
        pytest.importorskip("av")
    path = tmp_path / f"moving.{suffix}"
    write_moving_picture(path, frames, fps=20)
    found, durations = _read(path)
    assert found.shape == frames.shape
    assert durations == pytest.approx([0.05] * 6)
    away = np.abs(found[:, None].astype(int) - frames[None]).mean((2, 3, 4))  # [6, 6]
    assert (away.argmin(1) == np.arange(6)).all()
    assert away.diagonal().max() < 5
    assert [path.name] == [file.name for file in tmp_path.iterdir()]  # nothing is left beside it
    if suffix != "mp4":
        before = path.read_bytes()
        write_moving_picture(path, frames, fps=20)
        assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", ["gif", "webp", "mp4"])
def test_a_file_says_what_it_is(tmp_path: Path, frames: NDArray[np.uint8], suffix: str) -> None:
    path = tmp_path / f"said.{suffix}"
    if suffix == "mp4":
        av = pytest.importorskip("av")
        write_moving_picture(path, frames, comment='{"yaw": 1}')
        with av.open(str(path)) as container:
            assert container.metadata["comment"] == '{"yaw": 1}'
        return
    write_moving_picture(path, frames, comment='{"yaw": 1}', xmp="<x/>")
    with Image.open(path) as image:
        said = image.info["comment"] if suffix == "gif" else image.info["xmp"]
    assert said == (b'{"yaw": 1}' if suffix == "gif" else b"<x/>")


def test_what_stands_still_does_not_flicker_in_a_gif(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    write_moving_picture(tmp_path / "a.gif", frames)
    found, _ = _read(tmp_path / "a.gif")
    assert (found[:, 30:] == found[:1, 30:]).all()


def test_a_gif_that_is_shown_once_does_not_begin_again(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    for loop in (True, False):
        write_moving_picture(tmp_path / "a.gif", frames, loop=loop)
        with Image.open(tmp_path / "a.gif") as image:
            assert ("loop" in image.info) == loop


def test_an_odd_side_loses_its_last_row_in_an_mp4(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    pytest.importorskip("av")
    write_moving_picture(tmp_path / "odd.mp4", frames[:, :47, :63])
    assert _read(tmp_path / "odd.mp4")[0].shape == (6, 46, 62, 3)


@pytest.mark.parametrize(
    ("name", "shape", "fps", "message"),
    [
        ("a.png", (2, 4, 4, 3), 25.0, "one of gif, webp, mp4"),
        ("a.gif", (2, 4, 4), 25.0, r"\[T, H, W, 3\]"),
        ("a.gif", (0, 4, 4, 3), 25.0, r"\[T, H, W, 3\]"),
        ("a.gif", (2, 4, 4, 3), 60.0, "at most 50"),
        ("a.webp", (2, 4, 4, 3), 0.0, "fps"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, name: str, shape: tuple[int, ...], fps: float, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        write_moving_picture(tmp_path / name, np.zeros(shape, np.uint8), fps=fps)
    assert not list(tmp_path.iterdir())


def test_without_pyav_an_mp4_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DeltafastError, match=r"deltafast\[video\]"):
        write_moving_picture(tmp_path / "a.mp4", np.zeros((2, 4, 4, 3), np.uint8))
