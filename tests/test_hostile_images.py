"""Image files as they come: odd modes, turned cameras, animations, damage, bombs. Each is read or refused by name."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deltafast import files
from deltafast.errors import ImageError
from deltafast.files import image_size, is_animation, read_image

_RANDOM = np.random.default_rng(5)
_PICTURE = np.kron(_RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))  # [40, 56, 3]


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(header: bytes, rows: bytes) -> bytes:
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, content) for kind, content in parts)


def _deep_png(pixels: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits a channel, [H, W, 1 to 4], which Pillow cannot write."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return _png(header, b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels))


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_all_eight_orientations_are_read_upright(orientation: int, suffix: str, tmp_path: Path) -> None:
    stored = {  # how EXIF defines them: where the 0th row and the 0th column of the file belong
        1: _PICTURE,
        2: _PICTURE[:, ::-1],
        3: _PICTURE[::-1, ::-1],
        4: _PICTURE[::-1],
        5: _PICTURE.transpose(1, 0, 2),
        6: np.rot90(_PICTURE, 1),
        7: np.rot90(_PICTURE, 2).transpose(1, 0, 2),
        8: np.rot90(_PICTURE, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, **options)
    seen = read_image(path)
    assert image_size(path) == (56, 40) == seen.shape[1::-1]
    assert np.abs(seen.astype(int) - _PICTURE).mean() < 2


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_a_channel_are_scaled(channels: int, tmp_path: Path) -> None:
    deep = np.full((2, 3, channels), 65535, np.uint16)
    deep[0, :, 0] = (0, 128 * 257, 65535)
    (tmp_path / "deep.png").write_bytes(_deep_png(deep))
    seen = read_image(tmp_path / "deep.png")
    assert seen.shape == (2, 3, 3)
    assert seen[0, :, 0].tolist() == [0, 128, 255]
    assert (seen[1] == 255).all()


def test_numbers_wider_than_bytes_in_tiff(tmp_path: Path) -> None:
    ramp = np.array([[0.0, 0.5, 1.0]])
    for name, values in {
        "short": np.rint(ramp * 65535).astype(np.uint16),
        "fraction": ramp.astype(np.float32),
        "bytes": (ramp * 255).astype(np.float32),
        "holes": np.array([[0.0, 0.5, np.inf]], np.float32),
    }.items():
        Image.fromarray(values).save(tmp_path / f"{name}.tif")
        row = read_image(tmp_path / f"{name}.tif")[0, :, 0]
        assert row.tolist() in ([0, 128, 255], [0, 127, 255]), name


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_every_mode_is_read_as_rgb(mode: str, tmp_path: Path) -> None:
    grey = Image.fromarray(_PICTURE).convert("L")
    image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    if mode == "I":
        image = image.point(lambda v: v * 257)
    image.save(tmp_path / "any.tif")
    seen = read_image(tmp_path / "any.tif")
    assert seen.dtype == np.uint8
    assert seen.shape == (40, 56, 3)
    if mode != "1":
        assert np.abs(seen.astype(int) - np.asarray(grey)[..., None]).max() <= 2


def test_inks_of_a_print_become_colours(tmp_path: Path) -> None:
    Image.fromarray(_PICTURE).convert("CMYK").save(tmp_path / "print.jpg", quality=100, subsampling=0)
    assert np.abs(read_image(tmp_path / "print.jpg").astype(int) - _PICTURE).mean() < 4


@pytest.mark.parametrize(("suffix", "options"), [("gif", {}), ("webp", {"lossless": True}), ("png", {})])
def test_of_an_animation_the_first_frame_is_taken(suffix: str, options: dict[str, Any], tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue", "lime")]
    path = tmp_path / f"moving.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, **options)
    assert (read_image(path) == (255, 0, 0)).all()
    assert is_animation(path)
    frames[0].save(tmp_path / f"still.{suffix}")
    assert not is_animation(tmp_path / f"still.{suffix}")


def _whole_files() -> dict[str, bytes]:
    image = Image.fromarray(_RANDOM.integers(0, 256, (60, 60, 3), dtype=np.uint8))
    frames = [Image.new("RGB", (30, 30), colour) for colour in ("red", "blue")]
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "a.jpg": _saved(image, "JPEG", exif=exif),
        "b.png": _saved(image, "PNG"),
        "c.webp": _saved(image, "WEBP"),
        "d.tif": _saved(image, "TIFF", compression="tiff_lzw"),
        "e.gif": _saved(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "f.bmp": _saved(image, "BMP"),
    }


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged EXIF
@pytest.mark.parametrize("name", list(_whole_files()))
def test_a_file_cut_short_is_refused_by_name(name: str, tmp_path: Path) -> None:
    whole = _whole_files()[name]
    path = tmp_path / name
    for share in (0.0, 0.002, 0.02, 0.3, 0.7):
        path.write_bytes(whole[: int(len(whole) * share)])
        if name.endswith("gif") and share >= 0.3:
            continue  # the first frame may be whole
        with pytest.raises(ImageError, match="cannot be read as an image") as caught:
            read_image(path)
        assert caught.value.path == str(path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged EXIF
@pytest.mark.parametrize("name", list(_whole_files()))
def test_damage_anywhere_gives_an_image_or_an_image_error(name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    whole = np.frombuffer(_whole_files()[name], np.uint8)
    path = tmp_path / name
    refused = 0
    for round_number in range(60):
        damaged = whole.copy()
        reach = len(damaged) if round_number % 2 else min(300, len(damaged))
        damaged[random.integers(0, reach, 6)] = random.integers(0, 256, 6)
        path.write_bytes(damaged.tobytes())
        for read in (read_image, lambda p: read_image(p, at_least=20), image_size, is_animation):
            try:
                read(path)
            except ImageError:
                refused += 1
    assert refused > 0


def test_what_is_no_image_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "page.gif").write_text("<html></html>")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    for name in ("notes.jpg", "empty.png", "page.gif", "folder.png", "phone.heic", "absent.png"):
        for read in (read_image, image_size, is_animation):
            with pytest.raises(ImageError) as caught:
                read(tmp_path / name)
            assert caught.value.path == str(tmp_path / name)
    monkeypatch.setattr(files, "_reads_heif", lambda: False)
    with pytest.raises(ImageError, match=r"deltafast\[heic\].*convert it to JPEG or PNG"):
        read_image(tmp_path / "phone.heic")


@pytest.mark.parametrize("suffix", ["png", "gif", "jpg", "bmp", "tif"])
def test_a_header_that_promises_too_much_is_refused_before_anything_is_decoded(suffix: str, tmp_path: Path) -> None:
    side = 60_000
    small = {kind: bytearray(_saved(Image.new("RGB", (16, 16)), kind)) for kind in ("GIF", "JPEG", "BMP", "TIFF")}
    small["GIF"][6:10] = struct.pack("<HH", side, side)
    start = small["JPEG"].index(b"\xff\xc0")
    small["JPEG"][start + 5 : start + 9] = struct.pack(">HH", side, side)
    small["BMP"][18:26] = struct.pack("<ii", side, side)
    offset = struct.unpack("<I", small["TIFF"][4:8])[0]
    for entry in range(struct.unpack("<H", small["TIFF"][offset : offset + 2])[0]):
        place = offset + 2 + 12 * entry
        if struct.unpack("<H", small["TIFF"][place : place + 2])[0] in (256, 257):  # width, length
            small["TIFF"][place + 2 : place + 12] = struct.pack("<HII", 4, 1, side)
    png = _png(struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), bytes(1000))
    content = {"png": png, "gif": small["GIF"], "jpg": small["JPEG"], "bmp": small["BMP"], "tif": small["TIFF"]}
    path = tmp_path / f"bomb.{suffix}"
    path.write_bytes(content[suffix])
    with pytest.raises(ImageError, match="larger than 175 megapixels"):
        read_image(path)


def test_of_a_large_jpeg_only_as_much_is_decoded_as_is_asked_for(tmp_path: Path) -> None:
    Image.fromarray(np.kron(_PICTURE, np.ones((10, 10, 1), np.uint8))).save(tmp_path / "large.jpg", quality=95)
    whole = read_image(tmp_path / "large.jpg")
    assert whole.shape == (400, 560, 3)
    for at_least, width in ((1, 70), (70, 70), (71, 140), (280, 280), (281, 560), (9000, 560)):
        seen = read_image(tmp_path / "large.jpg", at_least=at_least)
        assert seen.shape[1] == width, at_least
        small = np.asarray(Image.fromarray(whole).resize(seen.shape[1::-1], Image.Resampling.BOX))
        assert np.abs(seen.astype(int) - small).mean() < 3
    Image.fromarray(whole).save(tmp_path / "large.png")
    assert np.array_equal(read_image(tmp_path / "large.png", at_least=10), whole)


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG of 100 megapixels, made in a process of its own."""
    path = tmp_path_factory.mktemp("huge") / "huge.jpg"
    making = "from PIL import Image; import sys\n"
    making += "Image.linear_gradient('L').resize((10000, 10000)).convert('RGB').save(sys.argv[1])"
    subprocess.run([sys.executable, "-c", making, str(path)], check=True, timeout=120)
    return path


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads its own peak memory as Linux reports it")
@pytest.mark.parametrize(("options", "most"), [({"at_least": 2048}, 150), ({}, 850)])
def test_100_megapixels_are_read_in_bounded_memory(options: dict[str, int], most: int, huge: Path) -> None:
    """Peak memory beyond that of the imports, in megabytes; the decoded photo is 400 of Pillow's and 300 of ours."""
    reading = (
        "import resource, sys; from deltafast.files import read_image; import PIL.Image, PIL.ImageOps\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        f"before = peak(); seen = read_image(sys.argv[1], **{options!r}); print(peak() - before, seen.shape[1])"
    )
    command = [sys.executable, "-c", reading, str(huge)]
    seen = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    megabytes, width = (int(word) for word in seen.stdout.split())
    assert width == (2500 if options else 10000)
    assert megabytes < most


def test_heic_is_read_where_the_extra_is_installed(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra `heic` (pillow-heif) is not installed")
    smooth = np.linspace(40, 200, 64)[None, :, None] + np.zeros((48, 1, 3))
    picture = Image.fromarray(smooth.astype(np.uint8))
    try:
        heif.from_pillow(picture).save(tmp_path / "phone.HEIC", quality=95)
    except RuntimeError as error:  # built without the encoder
        pytest.skip(f"pillow-heif cannot write here: {error}")
    seen = read_image(tmp_path / "phone.HEIC")
    assert seen.shape == (48, 64, 3)
    assert np.abs(seen.astype(int) - np.asarray(picture).astype(int)).mean() < 4
    assert image_size(tmp_path / "phone.HEIC") == (64, 48)
