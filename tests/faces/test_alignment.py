"""Real photos are aligned: every portrait, several faces, small ones, large photos, and choices by number."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from deltafast.errors import ImageError, InvalidInputError
from deltafast.faces.alignment import Alignment, FaceAligner
from deltafast.faces.cutting import side_of
from deltafast.faces.framing import ffhq_quad

Pixels = NDArray[np.uint8]


def _resized(photo: Pixels, size: int) -> Pixels:
    return np.asarray(Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def group(astronaut: Pixels, portraits: list[Pixels]) -> Pixels:
    """Three people of three sizes in one photo of 1600 x 1000."""
    photo = np.full((1000, 1600, 3), 190, np.uint8)
    places = ((portraits[4], 400, 60, 300), (portraits[9], 800, 700, 100), (astronaut[:300, 70:370], 250, 450, 700))
    for picture, size, x, y in places:
        photo[y : y + size, x : x + size] = _resized(np.ascontiguousarray(picture), size)
    return photo


def test_every_portrait_and_the_astronaut_are_found_and_fill_the_crop(
    aligner: FaceAligner, astronaut: Pixels, portraits: list[Pixels]
) -> None:
    for photo in [astronaut, *portraits]:
        (face,) = aligner.align(photo, size=256)
        assert face.image.shape == (256, 256, 3)
        again = aligner.is_aligned(face.image)
        assert again is True, "what was aligned is aligned"
    assert aligner.is_aligned(astronaut) is False


def test_a_wide_photo_of_an_aligned_face_is_not_aligned_and_a_faceless_one_unknown(
    aligner: FaceAligner, astronaut: Pixels
) -> None:
    (face,) = aligner.align(astronaut, size=200)
    wide = np.hstack([face.image, np.full((200, 20, 3), 128, np.uint8)])
    assert aligner.is_aligned(wide) is False
    assert aligner.is_aligned(np.full((200, 200, 3), 128, np.uint8)) is None


def test_several_faces_come_largest_first_and_by_number(aligner: FaceAligner, group: Pixels) -> None:
    faces = aligner.align(group, size=128, faces="all")
    assert [face.alignment.index for face in faces] == [0, 1, 2]
    sides = [side_of(face.alignment.quad) for face in faces]
    assert sides == sorted(sides, reverse=True)
    assert [face.alignment.quad.mean(axis=0)[0] > 700 for face in faces] == [True, False, False]
    (second,) = aligner.align(group, size=128, faces=1)
    assert second.alignment.as_json() == faces[1].alignment.as_json()
    assert np.array_equal(second.image, faces[1].image)
    (largest,) = aligner.align(group, size=128)
    off = np.abs(largest.alignment.quad - faces[0].alignment.quad).max()
    assert off < 0.03 * sides[0]
    with pytest.raises(ImageError, match="face 3 was asked for, but 3 found"):
        aligner.align(group, faces=3, name="group.jpg")


def test_a_small_face_in_a_large_photo_is_found_at_its_own_resolution(aligner: FaceAligner, astronaut: Pixels) -> None:
    photo = np.full((1500, 2600, 3), 120, np.uint8)
    photo[900:1412, 1900:2412] = astronaut  # its face is 4 % of the photo's width
    (small,), (plain,) = aligner.align(photo, size=256), aligner.align(astronaut, size=256)
    off = np.abs(small.alignment.quad - plain.alignment.quad - (1900, 900)).max()
    assert off < 0.03 * side_of(plain.alignment.quad)


def test_the_same_photo_gives_the_same_bytes_and_numbers(aligner: FaceAligner, astronaut: Pixels) -> None:
    (one,), (two,) = aligner.align(astronaut, size=100), aligner.align(astronaut.copy(), size=100)
    assert np.array_equal(one.image, two.image)
    assert one.alignment.as_json() == two.alignment.as_json()


def test_an_alignment_goes_through_json_unchanged(aligner: FaceAligner, astronaut: Pixels) -> None:
    (face,) = aligner.align(astronaut, size=64)
    text = json.dumps(face.alignment.as_json(), allow_nan=False)
    back = Alignment.from_json(json.loads(text))
    assert back.as_json() == face.alignment.as_json()
    assert back.quad == pytest.approx(ffhq_quad(back.landmarks) + 0.5)  # type: ignore[arg-type]
    assert back.photo_size == (512, 512)
    left, top, right, bottom = back.box  # type: ignore[misc]
    inner = back.landmarks[27:]  # type: ignore[index]
    assert ((inner > (left, top)) & (inner < (right, bottom))).all()
    whole = Alignment.from_json(Alignment.of_whole(20, 20).as_json())
    assert whole.quad.tolist() == [[0, 0], [0, 20], [20, 20], [20, 0]]


@pytest.mark.parametrize(
    "change",
    [
        {"quad": [[0, 0]]},
        {"quad": [[0, 0]] * 4},
        {"quad": None},
        {"quad": [[0, 0], [0, 1], [1, 1], [1, float("nan")]]},
        {"photo_size": [3]},
        {"photo_size": [0, 4]},
        {"landmarks": [[1, 2]]},
        {"index": "x"},
    ],
)
def test_what_is_no_alignment_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="no alignment"):
        Alignment.from_json({**Alignment.of_whole(20, 20).as_json(), **change})
    with pytest.raises(InvalidInputError, match="no alignment"):
        Alignment.from_json([])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_from_a_camera_held_any_way_gives_the_same_face(
    aligner: FaceAligner, astronaut: Pixels, orientation: int, tmp_path: Path
) -> None:
    upright = np.ascontiguousarray(astronaut[:300, 50:400])
    as_stored = {  # how EXIF defines its eight orientations
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(as_stored)).save(tmp_path / "turned.png", exif=exif)
    (seen,) = aligner.align_file(tmp_path / "turned.png", size=96)
    (expected,) = aligner.align(upright, size=96)
    assert np.array_equal(seen.image, expected.image)
    assert seen.alignment.as_json() == expected.alignment.as_json()


def test_a_jpeg_decoded_in_part_gives_the_same_face_as_the_whole(
    aligner: FaceAligner, astronaut: Pixels, tmp_path: Path
) -> None:
    large = _resized(np.ascontiguousarray(astronaut[:256, 90:346]), 4200)
    Image.fromarray(large).save(tmp_path / "large.jpg", quality=95)
    for size in (128, 1100):  # from the reduced picture, and from more of it than was searched
        (seen,), (whole,) = aligner.align_file(tmp_path / "large.jpg", size=size), aligner.align(large, size=size)
        assert seen.alignment.photo_size == (4200, 4200)
        side = side_of(whole.alignment.quad)
        assert np.abs(seen.alignment.quad - whole.alignment.quad).max() < 0.01 * side
        assert np.abs(seen.image.astype(int) - whole.image).mean() < 2.5


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (300, 400, 3)])
def test_a_photo_without_a_face_is_named(aligner: FaceAligner, shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with pytest.raises(ImageError, match=r"beach\.jpg: no face was found") as caught:
        aligner.align(noise, name="beach.jpg")
    assert caught.value.path == "beach.jpg"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"faces": "both"}, "largest"),
        ({"faces": -1}, "number of a face"),
        ({"faces": True}, "number of a face"),
        ({"faces": 1.5}, "number of a face"),
        ({"size": 8}, "16 to 8192"),
        ({"size": 256.0}, "16 to 8192"),
        ({"photo": np.zeros((50, 50), np.uint8)}, r"uint8 \[50, 50\]"),
        ({"photo": "face.jpg"}, "got str"),
    ],
)
def test_mistakes_are_told_in_words(
    aligner: FaceAligner, astronaut: Pixels, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInputError, match=words):
        aligner.align(**{"photo": astronaut, **options})


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads its own peak memory as Linux reports it")
def test_a_photo_of_100_megapixels_is_aligned_in_bounded_memory(aligner: FaceAligner, tmp_path: Path) -> None:
    """Peak memory beyond that of the imports, in megabytes; decoded in whole, the photo alone has 300."""
    making = (
        "import sys, numpy as np, skimage.data; from PIL import Image\n"
        "face = Image.fromarray(np.ascontiguousarray(skimage.data.astronaut()[:256, 90:346]))\n"
        "face.resize((10000, 10000), Image.Resampling.BILINEAR).save(sys.argv[1])"
    )
    aligning = (
        "import resource, sys; from deltafast.faces.alignment import FaceAligner; import PIL.Image, PIL.ImageOps\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "aligner = FaceAligner(); before = peak(); (face,) = aligner.align_file(sys.argv[1], size=256)\n"
        "print(peak() - before, *face.image.shape, *face.alignment.photo_size)"
    )
    printed = ""
    for program in (making, aligning):
        command = [sys.executable, "-c", program, str(tmp_path / "huge.jpg")]
        printed = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True).stdout
    megabytes, *sizes = (int(word) for word in printed.split())
    assert sizes == [256, 256, 3, 10000, 10000]
    assert megabytes < 200
