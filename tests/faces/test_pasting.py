"""An edited face goes back where it came from: nothing shows where nothing was edited, nothing changes outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError
from deltafast.faces.alignment import AlignedFace, Alignment, FaceAligner
from deltafast.faces.cutting import cut_square
from deltafast.faces.framing import quad_of_square
from deltafast.faces.pasting import paste_back

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def face(aligner: FaceAligner, astronaut: Pixels) -> AlignedFace:
    return aligner.align(astronaut, size=512)[0]


def _placed(photo: Pixels, x: float, y: float, half: float, degrees: float) -> Alignment:
    turn = np.deg2rad(degrees)
    quad = quad_of_square(np.array([x, y]), half * np.array([np.cos(turn), np.sin(turn)]))
    return Alignment(quad, (photo.shape[1], photo.shape[0]))


def _inside(alignment: Alignment, photo: Pixels, margin: float = 0.0) -> NDArray[np.bool_]:
    """Which pixels' centres lie in the crop, farther than `margin` of its side from its border: [H, W]."""
    x, y = np.meshgrid(np.arange(photo.shape[1]) + 0.5, np.arange(photo.shape[0]) + 0.5)
    axes = np.stack([alignment.quad[3] - alignment.quad[0], alignment.quad[1] - alignment.quad[0]], axis=1)
    u = (np.stack([x, y], axis=-1) - alignment.quad[0]) @ np.linalg.inv(axes).T
    return np.asarray(((u > margin) & (u < 1 - margin)).all(axis=-1))


def test_pasting_what_was_not_edited_shows_nowhere(face: AlignedFace, astronaut: Pixels) -> None:
    back = paste_back(astronaut, face.image, face.alignment, mask="crop")
    off = np.abs(back.astype(int) - astronaut)
    inside = _inside(face.alignment, astronaut)
    assert off[inside].mean() < 2
    assert off[inside].max() < 45  # at single pixels of hair
    ring = inside & ~_inside(face.alignment, astronaut, 0.03)
    assert off[ring].mean() < 0.2
    assert off[ring].max() <= 6
    on_face = np.abs(paste_back(astronaut, face.image, face.alignment).astype(int) - astronaut)
    assert on_face.max() < 45
    assert (on_face <= off).mean() > 0.99, "less of the crop is replaced"


def test_the_face_is_replaced_and_hair_and_background_stay(face: AlignedFace, astronaut: Pixels) -> None:
    green = np.full((64, 64, 3), (0, 255, 0), np.uint8)
    places = np.rint(face.alignment.landmarks).astype(int)  # type: ignore[arg-type]
    for feather in (0.0, 0.05, 0.09):
        back = paste_back(astronaut, green, face.alignment, feather=feather, match_colours=False)
        assert (back[places[:, 1], places[:, 0]] == (0, 255, 0)).all(), "all landmarks lie where the mask is full"
    back = paste_back(astronaut, green, face.alignment, match_colours=False)
    changed = (back != astronaut).any(axis=-1)
    inside = _inside(face.alignment, astronaut)
    assert not changed[~inside].any()
    assert 0.25 < changed[inside].mean() < 0.6
    left, top = face.alignment.quad[0].astype(int)
    assert not changed[top : top + 25, left : left + 25].any(), "the crop's corner is background"
    lips = places[48:60].mean(axis=0).astype(int)
    assert (back[lips[1], lips[0]] == (0, 255, 0)).all()


@pytest.mark.parametrize("degrees", [0.0, 25.0, -100.0])
@pytest.mark.parametrize("size", [64, 700])
def test_a_smooth_picture_comes_back_as_it_was(degrees: float, size: int) -> None:
    x, y = np.meshgrid(np.arange(300), np.arange(260))
    waves = [127 + 90 * np.sin(x / 33 + k) * np.cos(y / 27 - k) for k in range(3)]
    photo = np.rint(np.stack(waves, axis=-1)).astype(np.uint8)
    alignment = _placed(photo, 140.4, 125.1, 80, degrees)
    back = paste_back(photo, cut_square(photo, alignment.quad, size), alignment)
    assert np.abs(back.astype(int) - photo).max() <= 3


@pytest.mark.parametrize("feather", [0.0, 0.15, 0.5])
def test_outside_of_the_crop_nothing_changes_and_inside_the_edit_stands(astronaut: Pixels, feather: float) -> None:
    before = astronaut.copy()
    alignment = _placed(astronaut, 260, 240, 110, 12)
    red = np.full((96, 96, 3), (255, 0, 7), np.uint8)
    matched = paste_back(astronaut, red, alignment, feather=feather)
    back = paste_back(astronaut, red, alignment, feather=feather, match_colours=False)
    assert np.array_equal(astronaut, before), "the photo given is left alone"
    inside = _inside(alignment, astronaut)
    assert np.array_equal(back[~inside], astronaut[~inside])
    assert np.array_equal(matched[~inside], astronaut[~inside])
    middle = _inside(alignment, astronaut, max(feather, 0.01))
    assert (back[middle] == (255, 0, 7)).all()
    changed_in_part = (back[inside] != (255, 0, 7)).any(axis=-1).mean()
    assert changed_in_part < 0.05 if feather == 0 else changed_in_part > 0.3


def test_the_mask_has_no_step(astronaut: Pixels) -> None:
    grey = np.full((400, 400, 3), 0, np.uint8)
    back = paste_back(grey, np.full((64, 64, 3), 255, np.uint8), _placed(grey, 200, 200, 150, 30), feather=0.2)
    assert np.abs(np.diff(back[..., 0].astype(int), axis=0)).max() <= 255 * 1.5 / (0.2 * 300) * 1.5 + 1


def test_where_the_photo_ends_its_own_pixels_stay(astronaut: Pixels) -> None:
    alignment = _placed(astronaut, 480, 250, 100, 0)  # 68 of 200 pixels beyond the right border
    back = paste_back(astronaut, cut_square(astronaut, alignment.quad, 400), alignment)
    assert back.shape == astronaut.shape
    assert np.array_equal(back[:, -1], astronaut[:, -1])
    assert np.abs(back.astype(int) - astronaut).mean() < 0.5
    red = paste_back(astronaut, np.full((32, 32, 3), (255, 0, 0), np.uint8), alignment)
    assert (red[250, 440:480] == (255, 0, 0)).all()
    far = _placed(astronaut, -900, -900, 100, 0)
    assert np.array_equal(paste_back(astronaut, red[:64, :64], far), astronaut)


def test_an_image_that_was_aligned_already_is_edited_up_to_its_border(astronaut: Pixels) -> None:
    whole = Alignment.of_whole(512, 512)
    assert np.array_equal(paste_back(astronaut, astronaut, whole), astronaut)
    red = paste_back(astronaut, np.full((64, 64, 3), (255, 0, 0), np.uint8), whole, match_colours=False)
    assert (red[100:400, 100:400] == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"photo": np.zeros((512, 512), np.uint8)}, "photo must be a uint8 array"),
        ({"photo": np.zeros((512, 500, 3), np.uint8)}, "was aligned has 512 x 512 pixels, this one 500 x 512"),
        ({"edited": np.zeros((64, 64, 3), np.float32)}, r"edited must be a uint8 array \[H, W, 3\], got float32"),
        ({"edited": np.zeros((64, 60, 3), np.uint8)}, "square"),
        ({"mask": "hair"}, "mask must be one of face, head, crop"),
        ({"feather": 0.6}, "feather"),
        ({"person": np.zeros((2, 64, 60))}, r"person must be an array \[2, M, M\], before and after the edit; got \[2"),
        ({"person": [[0.0]]}, "person must be an array .* got list"),
        ({"person": np.zeros((64, 64))}, "person must be an array"),
        ({"person": np.zeros((2, 8, 8))}, "person must hold floats, 16 to 4096 a side"),
        ({"person": np.zeros((2, 64, 64), int)}, "person must hold floats"),
        ({"person": np.full((2, 64, 64), np.nan)}, "shares from 0 to 1"),
        ({"person": np.full((2, 64, 64), 1.5)}, "shares from 0 to 1"),
        ({"feather": float("nan")}, "feather"),
    ],
)
def test_mistakes_are_told_in_words(change: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {"photo": np.zeros((512, 512, 3), np.uint8), "edited": np.zeros((64, 64, 3), np.uint8)}
    with pytest.raises(InvalidInputError, match=words):
        paste_back(**{**good, "alignment": Alignment.of_whole(512, 512), **change})


def test_only_what_an_edit_changes_is_added_where_the_crop_before_it_is_given(astronaut: Pixels) -> None:
    alignment = _placed(astronaut, 200, 200, 150, 30)
    crop = np.random.default_rng(0).integers(60, 190, (96, 96, 3), dtype=np.uint8)
    edited = crop.copy()
    edited[32:64, 32:64] += 40
    assert np.array_equal(paste_back(astronaut, crop, alignment, mask="crop", unedited=crop), astronaut)
    back = paste_back(astronaut, edited, alignment, mask="crop", unedited=crop)
    changed = (back != astronaut).any(axis=-1)
    assert 0.05 < changed[_inside(alignment, astronaut, 0.0)].mean() < 0.25
    with pytest.raises(InvalidInputError, match="square"):
        paste_back(astronaut, crop, alignment, unedited=crop[:50])


def _persons(x: float, after: float) -> NDArray[np.float32]:
    """Shares of a head of radius 0.3 at (x, 0.5) and (after, 0.5), and shoulders below 0.9, `[2, 128, 128]`."""
    across, down = np.meshgrid(*[(np.arange(128) + 0.5) / 128] * 2)
    heads = [(np.hypot(across - at, down - 0.5) < 0.3) | (down > 0.9) for at in (x, after)]
    return np.stack(heads).astype(np.float32)


def test_a_turned_head_takes_its_hair_along_and_leaves_background_and_shoulders() -> None:
    grey = np.full((256, 256, 3), 90, np.uint8)
    whole = Alignment.of_whole(256, 256)
    red = np.full((256, 256, 3), (255, 0, 0), np.uint8)
    back = paste_back(grey, red, whole, mask="head", person=_persons(0.45, 0.6), match_colours=False)
    pure = (back == (255, 0, 0)).all(axis=-1)
    assert pure[[128, 128, 60], [50, 220, 128]].all(), "the head before and after the turn"
    same = (back == 90).all(axis=-1)
    assert same[:30].all(), "background"
    assert same[:, [*range(26), *range(242, 256)]].all()
    assert same[232:].all(), "shoulders"
    none = paste_back(grey, red, whole, mask="head", person=np.zeros((2, 64, 64)))
    assert np.array_equal(none, grey), "nobody is seen"


def test_of_a_head_only_what_belongs_to_the_face_is_replaced() -> None:
    grey = np.full((256, 256, 3), 90, np.uint8)
    persons = _persons(0.5, 0.5)
    persons[:, 20:40, 5:15] = 1  # somebody else, behind
    red = np.full((256, 256, 3), (255, 0, 0), np.uint8)
    back = paste_back(grey, red, Alignment.of_whole(256, 256), mask="head", person=persons)
    assert np.array_equal(back[40:80, 10:30], grey[40:80, 10:30])


def test_without_a_persons_outline_a_head_is_wider_than_its_face(face: AlignedFace, astronaut: Pixels) -> None:
    green = np.full((64, 64, 3), (0, 255, 0), np.uint8)
    changed = {}
    for mask in ("face", "head", "crop"):
        back = paste_back(astronaut, green, face.alignment, mask=mask, match_colours=False)
        changed[mask] = (back != astronaut).any(axis=-1)
    chin = int(face.alignment.landmarks[8, 1])  # type: ignore[index]
    assert not changed["head"][chin + 40 :].any(), "shoulders stay"
    assert changed["face"].sum() < changed["head"].sum() < changed["crop"].sum()
    whole = Alignment.of_whole(512, 512)
    crop = paste_back(astronaut, green, whole, mask="crop")
    assert np.array_equal(paste_back(astronaut, green, whole, mask="head"), crop)


def test_a_cast_of_colour_is_matched_where_the_face_meets_the_photo(face: AlignedFace, astronaut: Pixels) -> None:
    cast = np.clip(face.image + np.array([18.0, -8.0, 10.0]), 0, 255).astype(np.uint8)
    off = {}
    for match in (False, True):
        back = paste_back(astronaut, cast, face.alignment, match_colours=match)
        off[match] = np.abs(back.astype(int) - astronaut).mean(axis=-1)
    outline = np.rint(face.alignment.landmarks[[2, 4, 6, 10, 12, 14]]).astype(int)  # type: ignore[index]
    x, y = outline.T
    assert off[True][y, x].mean() < 0.6 * off[False][y, x].mean()
    nose = np.rint(face.alignment.landmarks[30]).astype(int)  # type: ignore[index]
    around = slice(nose[1] - 3, nose[1] + 4), slice(nose[0] - 3, nose[0] + 4)
    assert off[True][around].mean() > 0.6 * off[False][around].mean(), "what the edit does in the face stays"
