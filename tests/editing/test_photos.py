"""edit_batch on photos: aligned or taken as they are, projected in order, and put back in their places."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matrix_generator import C, L, MatrixGenerator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import deltafast
from deltafast.delta import Editor
from deltafast.editing import EditOptions, EditSession, samples
from deltafast.editing.head_outlines import HeadOutlines
from deltafast.errors import DeltafastError, DownloadError, ImageError, InvalidInputError
from deltafast.faces import alignment, models
from deltafast.faces.alignment import FaceAligner
from deltafast.projection import ProjectionSettings

Pixels = NDArray[np.uint8]


@pytest.fixture
def generator() -> Any:
    """The small generator, which says that it makes larger images: photos are aligned at that size."""
    tiny = MatrixGenerator()
    tiny.img_resolution = 96
    return tiny


@pytest.fixture(scope="module")
def aligner() -> FaceAligner:
    """The aligner; skips where the extra `photos` is not installed."""
    pytest.importorskip("dlib", reason="the extra `photos` (dlib-bin) is not installed")
    return FaceAligner()


@pytest.fixture(scope="module")
def photo() -> Pixels:
    """A photo of 300 x 360 pixels with one face."""
    return np.ascontiguousarray(pytest.importorskip("skimage.data").astronaut()[:300, 50:410])


@pytest.fixture
def made() -> list[Any]:
    """The projectors that were made."""
    return []


@pytest.fixture
def projected(monkeypatch: pytest.MonkeyPatch, made: list[Any]) -> list[Tensor]:
    """What was given to the projection, which here only takes the mean of an image."""
    seen: list[Tensor] = []

    class MeanProjector:
        def __init__(self, generator: Any, encoder: Any, settings: ProjectionSettings) -> None:
            self._steps = settings.refine.steps
            made.append(self)

        def project(self, images: Iterable[Tensor]) -> Tensor:
            rows = [image[None] for image in images]
            seen.extend(rows)
            for row in rows:
                assert row.dtype == torch.float32
                assert bool((row.abs() <= 1).all())
            means = torch.stack([row.mean() for row in rows])
            return means[:, None, None].expand(-1, L, C) + 100 * self._steps

    monkeypatch.setattr(samples, "Projector", MeanProjector)
    monkeypatch.setattr(samples, "shows_mesh", lambda image: False)  # single photos are as many: none is tuned
    return seen


def test_aligned_images_of_every_kind_are_projected_in_order(
    generator: Any, yaw: Editor, projected: list[Tensor], tmp_path: Path
) -> None:
    arrays = np.stack([np.full((32, 32, 3), value, np.uint8) for value in (0, 51, 255)])
    paths = [tmp_path / f"{k}.png" for k in range(3)]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array).save(path)
    tensor = torch.from_numpy(arrays).permute(0, 3, 1, 2)
    floats = tensor.float() / 127.5 - 1
    expected = torch.tensor([-1.0, -0.6, 1.0])
    everything = [arrays, list(arrays), paths, [str(p) for p in paths], [Image.open(p) for p in paths], tensor, floats]
    everything += [list(floats), floats.numpy(), floats.permute(0, 2, 3, 1).numpy(), floats.double()]
    for given in everything:
        result = deltafast.edit_batch(generator, given, yaw, 0.0, batch_size=2, align=False)
        torch.testing.assert_close(result.sources[:, 0, 0], expected)
        assert result.alignments is not None
        assert [a.photo_size for a in result.alignments] == [(32, 32)] * 3
        assert result.photos is None
    assert len(deltafast.edit_batch(generator, paths[0], yaw, 1.0, align=False)) == 1
    for singles in (paths, list(floats), list(arrays)):
        streamed = deltafast.edit_stream(generator, iter(singles), yaw, 0.0, batch_size=2, align=False)
        torch.testing.assert_close(torch.cat([r.sources for r in streamed])[:, 0, 0], expected)
    refined = deltafast.edit_batch(generator, paths, yaw, 0.0, align=False, refine_steps=3)
    torch.testing.assert_close(refined.sources[:, 0, 0], expected + 300)


def test_photos_of_every_kind_are_aligned(
    aligner: FaceAligner, generator: Any, yaw: Editor, projected: list[Tensor], photo: Pixels, tmp_path: Path
) -> None:
    (face,) = aligner.align(photo, size=generator.img_resolution)
    expected = torch.from_numpy(face.image).permute(2, 0, 1)[None].float() / 127.5 - 1
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(np.rot90(photo, 1)).save(tmp_path / "turned.png", exif=exif)
    floats = photo.astype(np.float32) / 127.5 - 1
    photos = [tmp_path / "photo.png", tmp_path / "turned.png", Image.open(tmp_path / "turned.png"), photo, floats]
    photos += [torch.from_numpy(photo).permute(2, 0, 1), torch.from_numpy(floats).permute(2, 0, 1)]
    for given in photos:
        result = deltafast.edit_batch(generator, [given], yaw, 1.0)
        torch.testing.assert_close(projected[-1], expected)
        assert result.alignments is not None
        assert result.alignments[0].as_json() == face.alignment.as_json()
    assert deltafast.edit_batch(generator, photo, yaw, 1.0, face=0).alignments is not None
    with pytest.raises(ImageError, match="image 0: face 1 was asked for, but 1 found"):
        deltafast.edit_batch(generator, photo, yaw, 1.0, face=1)


def test_auto_takes_an_aligned_image_as_it_is_and_true_aligns_it_again(
    aligner: FaceAligner, generator: Any, yaw: Editor, projected: list[Tensor], photo: Pixels
) -> None:
    (face,) = aligner.align(photo, size=150)
    tensor = torch.from_numpy(face.image).permute(2, 0, 1)[None].float() / 127.5 - 1
    for given in (face.image, tensor):
        result = deltafast.edit_batch(generator, given, yaw, 1.0)
        assert torch.equal(projected[-1], tensor)
        assert result.alignments is not None
        assert result.alignments[0].is_whole
    result = deltafast.edit_batch(generator, face.image, yaw, 1.0, align=True)
    assert projected[-1].shape[-1] == generator.img_resolution
    assert result.alignments is not None
    assert not result.alignments[0].is_whole


def test_edited_faces_are_put_back_into_their_photos(
    aligner: FaceAligner, generator: Any, yaw: Editor, projected: list[Tensor], photo: Pixels, tmp_path: Path
) -> None:
    wide = np.hstack([photo, np.full((300, 200, 3), 90, np.uint8)])
    Image.fromarray(wide).save(tmp_path / "wide.png")
    red = torch.tensor([1.0, -1.0, -1.0])[None, :, None, None].expand(-1, -1, 8, 8)

    def synthesise(ws: Tensor, noise_mode: str) -> Tensor:
        return red.repeat(len(ws), 1, 1, 1)

    for output in ("uint8", "float"):
        options = {"paste_back": True, "output": output, "synthesise": synthesise}
        result = deltafast.edit_batch(generator, [photo, tmp_path / "wide.png"], yaw, 1.0, **options)
        assert result.photos is not None
        assert result.alignments is not None
        for original, pasted, place in zip((photo, wide), result.photos, result.alignments, strict=True):
            assert pasted.shape == original.shape
            assert pasted.dtype == np.uint8
            x, y = place.quad.mean(axis=0).astype(int)
            assert pasted[y, x].tolist() == [255, 0, 0]
            expected = deltafast.paste_back(original, np.full((8, 8, 3), (255, 0, 0), np.uint8), place)
            assert np.array_equal(pasted, expected)
    cropped = deltafast.edit_batch(generator, photo, yaw, 1.0, **{**options, "paste_back": "crop"})
    assert cropped.photos is not None
    assert (cropped.photos[0] != photo).mean() > 1.2 * (result.photos[0] != photo).mean()
    swept = deltafast.edit_batch(generator, photo, yaw, [[0.0, 1.0, 2.0]], paste_back=True, feather=0.3)
    assert swept.photos is not None
    assert swept.photos[0].shape == (3, *photo.shape)
    streamed = list(deltafast.edit_stream(generator, iter([photo, wide]), yaw, 1.0, batch_size=1, paste_back=True))
    assert [r.photos[0].shape for r in streamed if r.photos] == [photo.shape, wide.shape]
    assert deltafast.edit_batch(generator, [], yaw, 1.0, paste_back=True).photos == []
    whole = deltafast.edit_batch(generator, photo[:200, :200], yaw, 1.0, align=False, **options)
    assert whole.photos is not None
    assert whole.photos[0][100, 100].tolist() == [255, 0, 0]


def test_a_head_is_put_back_with_its_hair(
    aligner: FaceAligner, generator: Any, yaw: Editor, projected: list[Tensor], photo: Pixels
) -> None:
    try:
        outlines = HeadOutlines()
    except DownloadError as error:
        pytest.skip(f"the network that finds persons cannot be fetched: {error}")
    red = torch.tensor([1.0, -1.0, -1.0])[None, :, None, None].expand(-1, -1, 8, 8)
    options: dict[str, Any] = {"synthesise": lambda ws, noise_mode: red.repeat(len(ws), 1, 1, 1), "output": "uint8"}
    result = deltafast.edit_batch(generator, photo, yaw, 1.0, paste_back="head", **options)
    assert result.photos is not None
    assert result.alignments is not None
    edited, place = np.full((1, 8, 8, 3), (255, 0, 0), np.uint8), result.alignments[0]
    (person,) = outlines(photo, place, edited)
    expected = deltafast.paste_back(photo, edited[0], place, mask="head", person=person)
    assert np.array_equal(result.photos[0], expected)
    faced = deltafast.edit_batch(generator, photo, yaw, 1.0, paste_back=True, **options).photos
    assert faced is not None
    assert (expected != photo).sum() > 1.1 * (faced[0] != photo).sum(), "hair is replaced too"


_ARRAY = np.full((64, 64, 3), 0.5)
_ARRAY[0] = 0.25


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (np.zeros((4, 5, 3), np.uint8), ImageError, "image 0: an aligned face is square.* 5 x 4"),
        (torch.zeros(2, 3, 40, 50), ImageError, "image 0: an aligned face is square.* 50 x 40"),
        (np.zeros((40, 40, 4), np.uint8), InvalidInputError, r"\[H, W, 3\], image 0 is uint8 \[40, 40, 4\]"),
        (torch.full((1, 3, 40, 40), 200.0), InvalidInputError, r"in \[-1, 1\].*image / 127.5 - 1"),
        (_ARRAY, InvalidInputError, r"\[0.25, 0.5\]: give image \* 2 - 1"),
        (_ARRAY * 255, InvalidInputError, "image / 127.5 - 1"),
        (torch.full((1, 3, 40, 40), float("nan")), InvalidInputError, "NaN"),
        (torch.zeros(1, 3, 40, 40, dtype=torch.int32), InvalidInputError, "image 0.*torch.int32"),
        (["no/such.png"], ImageError, "no such file"),
        ([Path("no/such.png"), 3], InvalidInputError, "got int"),
    ],
)
def test_what_cannot_be_taken_as_it_is_is_told_in_words(
    generator: Any, yaw: Editor, projected: list[Tensor], given: Any, error: type[DeltafastError], words: str
) -> None:
    with pytest.raises(error, match=words):
        deltafast.edit_batch(generator, given, yaw, 1.0, align=False)


def test_a_photo_without_a_face_and_a_mixed_iterator_are_told_in_words(
    aligner: FaceAligner, generator: Any, yaw: Editor, projected: list[Tensor], photo: Pixels
) -> None:
    meadow = np.full((64, 64, 3), 90, np.uint8)
    with pytest.raises(ImageError, match="image 1: no face was found"):
        deltafast.edit_batch(generator, [photo, meadow], yaw, 1.0)
    with pytest.raises(InvalidInputError, match="either latents or photos"):
        list(deltafast.edit_stream(generator, iter([photo, torch.zeros(L, C)]), yaw, 1.0))


def test_without_dlib_the_error_says_what_to_do(
    generator: Any, yaw: Editor, projected: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Any:
        raise DeltafastError(f"finding faces needs dlib; {models.INSTALL}")

    alignment.shared_aligner.cache_clear()
    monkeypatch.setattr(alignment, "FaceAligner", missing)
    with pytest.raises(DeltafastError, match=r"pip install .*deltafast\[photos\].*align=False"):
        deltafast.edit_batch(generator, np.zeros((64, 64, 3), np.uint8), yaw, 1.0)
    assert len(deltafast.edit_batch(generator, np.zeros((64, 64, 3), np.uint8), yaw, 1.0, align=False)) == 1
    alignment.shared_aligner.cache_clear()


def test_all_faces_of_a_photo_are_edited_and_go_back_into_it(
    aligner: FaceAligner, generator: Any, yaw: Editor, projected: list[Tensor], made: list[Any], photo: Pixels
) -> None:
    two = np.ascontiguousarray(np.hstack([photo, photo[:, ::-1]]))
    options = EditOptions(face="all", paste_back="crop", batch_size=1)
    result = deltafast.edit_batch(generator, [photo, two, photo[:, ::-1]], yaw, [[0.0, 3.0]], options)
    assert len(result) == 4
    assert result.photo_index == [0, 1, 1, 2]
    assert result.photos is not None
    assert result.alignments is not None
    assert [pasted.shape for pasted in result.photos] == [(2, *photo.shape), (2, *two.shape), (2, *photo.shape)]
    for place in result.alignments[1:3]:
        x, y = place.quad.mean(axis=0).astype(int)
        assert (result.photos[1][1][y - 9 : y + 9, x - 9 : x + 9] != two[y - 9 : y + 9, x - 9 : x + 9]).any()
    assert len(made) == 1, "one projector serves all photos of whatever size"
    streamed = list(deltafast.edit_stream(generator, iter([photo, two]), yaw, 1.0, face="all", batch_size=2))
    assert [len(part) for part in streamed] == [3]
    assert streamed[0].photo_index == [0, 1, 1]


def test_a_session_sets_up_its_projector_once(
    generator: Any, yaw: Editor, projected: list[Tensor], made: list[Any]
) -> None:
    session = EditSession(generator, yaw, 1.0, EditOptions(align=False, refine_steps=2, batch_size=1))
    for side in (32, 40, 48):
        assert len(session.edit(np.full((side, side, 3), 9, np.uint8))) == 1
    assert len(list(session.stream([np.full((side, side, 3), 9, np.uint8) for side in (64, 32)]))) == 2
    assert len(made) == 1
