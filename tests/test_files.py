"""Files are whole or absent, images arrive as RGB whatever their format, and damage is reported by name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from deltafast import files
from deltafast.errors import DiskError, ImageError, InvalidInputError
from deltafast.files import (
    atomic_write,
    cache_dir,
    list_images,
    read_image,
    read_json,
    sha256_file,
    write_json,
    write_png,
)

_RANDOM = np.random.default_rng(0)
_PICTURE = _RANDOM.integers(0, 256, (7, 5, 3), dtype=np.uint8)  # [H, W, 3]


# ---- atomic_write -------------------------------------------------------------------------------------------------


def test_a_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.bin"
    for content in (b"first", b"second"):
        with atomic_write(target) as temporary:
            temporary.write_bytes(content)
        assert target.read_bytes() == content
    assert list(target.parent.iterdir()) == [target]


def test_a_crash_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")

    def write_half_and_stop() -> None:
        with atomic_write(target) as temporary:
            temporary.write_bytes(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half_and_stop()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_a_disk_error_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"

    def fill() -> None:
        with atomic_write(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(DiskError, match=rf"cannot write {target}: No space left on device"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_really_full_disk_is_a_disk_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this platform has no /dev/full, the device that is always full")

    def fill() -> None:
        with atomic_write("/dev/shm/deltafast-full-test"), open("/dev/full", "wb") as stream:
            stream.write(b"x" * 100_000)

    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("/dev/shm cannot be written here")
    with pytest.raises(DiskError, match="No space left"):
        fill()
    assert not Path("/dev/shm/deltafast-full-test").exists()


_WRITERS = """
import resource, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from deltafast.errors import DiskError
from deltafast.files import atomic_write
tensors, folder = {"x": torch.zeros(1_000_000)}, Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # bytes of a file; Python leaves its signal to errno
for name, save in (("a.pt", torch.save), ("a.safetensors", save_file)):
    try:
        with atomic_write(folder / name) as temporary:
            save(tensors, temporary)
    except DiskError as error:
        print(error)
print([path.name for path in folder.iterdir()])
try:
    with atomic_write(folder / "b.pt"):
        raise RuntimeError("of something else")
except RuntimeError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX's")
def test_a_full_disk_is_a_disk_error_where_torch_and_safetensors_write(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITERS, str(tmp_path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for line, name in zip(told, ("a.pt", "a.safetensors"), strict=False):
        assert line.startswith(f"cannot write {tmp_path / name}: ")
    assert told[2:] == ["[]", "of something else"]


def test_a_path_below_a_file_is_a_disk_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError, match="cannot write"):
        write_json(tmp_path / "file" / "report.json", {})


def test_written_files_have_the_permissions_of_ordinary_ones(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.write_bytes(b"")
    with atomic_write(tmp_path / "atomic") as temporary:
        temporary.write_bytes(b"")
    assert stat.S_IMODE((tmp_path / "atomic").stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


# ---- images -------------------------------------------------------------------------------------------------------


def test_png_gives_back_the_pixels_that_went_in(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", _PICTURE)
    write_png(tmp_path / "b.png", _PICTURE)
    assert np.array_equal(read_image(tmp_path / "a.png"), _PICTURE)
    assert sha256_file(tmp_path / "a.png") == sha256_file(tmp_path / "b.png")


def test_a_grey_png_is_read_as_rgb(tmp_path: Path) -> None:
    write_png(tmp_path / "grey.png", _PICTURE[..., 0])
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(_PICTURE[..., :1], 3, axis=2))


@pytest.mark.parametrize("wrong", [_PICTURE.astype(np.float32), _PICTURE[0, 0]])
def test_what_is_no_image_is_not_written(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="uint8"):
        write_png(tmp_path / "x.png", wrong)
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [
        (3, lambda upright: upright[::-1, ::-1]),
        (6, lambda upright: np.rot90(upright, 1)),  # the camera was turned; the viewer must turn by 90 degrees
        (8, lambda upright: np.rot90(upright, -1)),
    ],
)
def test_a_photo_from_a_turned_camera_is_read_upright(orientation: int, undo: Any, tmp_path: Path) -> None:
    image = Image.fromarray(np.ascontiguousarray(undo(_PICTURE)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "turned.png"), _PICTURE)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = np.dstack([_PICTURE, np.full(_PICTURE.shape[:2], 255, np.uint8)])  # [H, W, 4]
    rgba[0, :, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    seen = read_image(tmp_path / "rgba.png")
    assert (seen[0] == 255).all()
    assert np.array_equal(seen[1:], _PICTURE[1:])


def test_palette_transparency_is_laid_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "palette.png", transparency=0)
    assert read_image(tmp_path / "palette.png").tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    deep = np.array([[0, 128 * 257, 65535]], dtype=np.uint16)  # [1, 3]
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 128, 255]


def test_of_an_animation_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "moving.gif")[0, 0].tolist() == [255, 0, 0]


def test_cmyk_is_read_as_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "print.jpg")
    assert read_image(tmp_path / "print.jpg").shape == (8, 8, 3)
    assert (read_image(tmp_path / "print.jpg") > 250).all()


def test_a_colour_profile_is_read_where_it_fits_and_written(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(_PICTURE).save(tmp_path / "with.jpg", icc_profile=profile)
    Image.fromarray(_PICTURE).convert("CMYK").save(tmp_path / "inks.jpg", icc_profile=profile)
    write_png(tmp_path / "without.png", _PICTURE)
    write_png(tmp_path / "kept.png", _PICTURE, profile=files.colour_profile(tmp_path / "with.jpg"))
    assert files.colour_profile(tmp_path / "kept.png") == profile
    assert np.array_equal(read_image(tmp_path / "kept.png"), _PICTURE)
    assert files.colour_profile(tmp_path / "inks.jpg") is None
    assert files.colour_profile(tmp_path / "without.png") is None


def test_damage_is_reported_with_the_name_of_the_file(tmp_path: Path) -> None:
    write_png(tmp_path / "whole.png", _RANDOM.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    half = tmp_path / "half.png"
    half.write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    for name in ("half.png", "text.png", "empty.png", "absent.png", "."):
        with pytest.raises(ImageError) as caught:
            read_image(tmp_path / name)
        assert caught.value.path == str(tmp_path / name)
        assert caught.value.reason


def test_an_image_of_absurd_size_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_png(tmp_path / "large.png", _PICTURE)
    monkeypatch.setattr(files, "_MAX_PIXELS", 34)
    with pytest.raises(ImageError, match=r"larger than .* \(5 x 7\)"):
        read_image(tmp_path / "large.png")


def test_a_folder_lists_its_images_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.txt", "d.webp"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.JPG", "b.png", "d.webp"]
    with pytest.raises(InvalidInputError, match="not a folder"):
        list_images(tmp_path / "a.JPG")


# ---- JSON, hashes, the cache --------------------------------------------------------------------------------------

_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(value=_json_values)
def test_json_gives_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_json_is_the_same_bytes_whatever_the_order_of_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1, "y": [2.5, "ü"]})
    write_json(tmp_path / "b.json", {"y": [2.5, "ü"], "x": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"x": 1, "y": [2.5, "ü"]}


@pytest.mark.parametrize("content", [b'{"x": 1', b"", b"\xff\xfe\x00"])
def test_damaged_json_is_reported_with_its_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"manifest\.json cannot be read as JSON"):
        read_json(path)
    with pytest.raises(InvalidInputError, match=r"absent\.json"):
        read_json(tmp_path / "absent.json")


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = b"deltafast" * 200_000  # more than one block
    (tmp_path / "file").write_bytes(content)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_the_cache_is_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELTAFAST_CACHE", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("DELTAFAST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "deltafast"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "deltafast"


def test_a_home_of_somebody_else_is_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DELTAFAST_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    home, stat_, access = tmp_path / "theirs", os.stat, os.access
    home.mkdir()

    def refuse(path: Any, *rest: Any, **options: Any) -> Any:
        if home in Path(path).parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat_(path, *rest, **options)

    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != home and access(path, mode))
    files._homeless_cache.cache_clear()
    monkeypatch.setattr(os, "stat", refuse)
    assert cache_dir().parent == tmp_path
    files._homeless_cache.cache_clear()


def test_without_a_home_the_cache_is_a_folder_of_this_user_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("DELTAFAST_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    files._homeless_cache.cache_clear()
    monkeypatch.setattr(files.Path, "home", homeless)
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))
    found = cache_dir()
    assert found.parent == tmp_path
    assert found.stat().st_mode & 0o777 == 0o700
    assert cache_dir() == found
    assert capsys.readouterr().err.count("no home folder") == 1
    files._homeless_cache.cache_clear()
    monkeypatch.setattr(files.os, "getuid", lambda: 4242)
    foreign = tmp_path / "deltafast-4242"
    foreign.mkdir()  # somebody laid it there, perhaps with files in it
    assert cache_dir() != foreign
    files._homeless_cache.cache_clear()


# ---- what killed processes leave ----------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from deltafast.files import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_of_killed_processes_are_removed_and_living_ones_left_alone(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    subprocess.run([sys.executable, "-c", _KILLED, str(inner / "result.bin")], timeout=60, check=False)
    (left,) = inner.iterdir()
    assert left.name.endswith(".tmp")
    assert files.remove_leftovers(tmp_path) == 0, "too young: its writer may not hold it yet"
    with atomic_write(tmp_path / "other.bin") as mine:
        assert files.remove_leftovers(tmp_path, older_than=0) == 1
        assert mine.exists()
        mine.write_bytes(b"whole")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["other.bin"]
    assert list(inner.iterdir()) == []


def test_a_name_that_is_nearly_too_long_or_no_text_is_written(tmp_path: Path) -> None:
    for name in ("n" * 250 + ".json", os.fsdecode(b"\xff\xfe.json")):
        write_json(tmp_path / name, {"photo": name})
        assert read_json(tmp_path / name) == {"photo": name}
