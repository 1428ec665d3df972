"""Faces that dlib does not find are looked for whichever way is up; a photo in which it does costs and gives the same.

The portrait is scikit-image's, public domain; the profile is its photographer.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deltafast.errors import DownloadError
from deltafast.faces import finding
from deltafast.faces.alignment import Alignment, FaceAligner
from deltafast.faces.finding import APART, FaceFinder, FoundFace
from deltafast.faces.turned_detection import TurnedFace, TurnedFaceDetector

Pixels = NDArray[np.uint8]


@pytest.fixture
def portrait(astronaut: Pixels) -> Pixels:
    """The face and its surroundings, 260 x 220."""
    return np.ascontiguousarray(astronaut[0:260, 110:330])


def test_a_photo_whose_face_dlib_reads_is_never_shown_to_the_second_detector(
    aligner: FaceAligner, portrait: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> list[TurnedFace]:
        raise AssertionError("the second detector was asked")

    monkeypatch.setattr(TurnedFaceDetector, "detect", never)
    (alone,), (both,) = FaceFinder(second=False).find(portrait), FaceFinder().find(portrait)
    assert np.array_equal(alone.landmarks, both.landmarks)
    assert (alone.box, alone.score, alone.doubt) == (both.box, both.score, None)


@pytest.mark.parametrize("turns", [1, 2])
def test_a_turned_photo_gives_the_landmarks_of_the_upright_one_turned(
    aligner: FaceAligner, portrait: Pixels, turns: int
) -> None:
    (upright,) = aligner.align(portrait, size=128)
    (turned,) = aligner.align(np.ascontiguousarray(np.rot90(portrait, turns)), size=128)
    expected, points = upright.alignment.landmarks, turned.alignment.landmarks
    assert expected is not None
    assert points is not None
    width, height = portrait.shape[1] - 1, portrait.shape[0] - 1
    x, y = expected.T
    expected = np.stack([(y, width - x), (width - x, height - y)][turns - 1], 1)
    eyes = np.hypot(*(expected[45] - expected[36]))
    assert np.hypot(*(points - expected).T).mean() < 0.02 * eyes
    assert np.abs(turned.image.astype(int) - upright.image).mean() < 6  # upright again
    assert turned.alignment.doubt is None


def test_a_profile_is_found_and_said_to_be_doubtful(aligner: FaceAligner) -> None:
    grey: Any = pytest.importorskip("skimage.data").camera()[40:260, 120:340]
    profile = np.stack([grey] * 3, 2)
    assert all(face.apart > APART for face in FaceFinder(second=False).find(profile)), "dlib sees a pattern at most"
    (face,) = aligner.align(profile, size=128)
    assert face.alignment.doubt is not None
    assert "uncertain" in face.alignment.doubt
    again = Alignment.from_json(face.alignment.as_json())
    assert again.doubt == face.alignment.doubt
    x, y = face.alignment.quad.mean(0)
    assert 95 < x < 150, "between ear and nose"
    assert 90 < y < 140


def test_without_the_network_s_weights_it_is_said_that_turned_faces_are_not_looked_for(
    aligner: FaceAligner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: object) -> list[TurnedFace]:
        raise DownloadError("no network")

    monkeypatch.setattr(TurnedFaceDetector, "detect", missing)
    with caplog.at_level(logging.WARNING, "deltafast"):
        assert FaceFinder().find(np.full((100, 100, 3), 90, np.uint8)) == []
    assert "turned or in profile cannot be looked for: no network" in caplog.text


class _Frontal:
    """dlib, which sees a clear face, a pattern, and a face whose landmarks it cannot read."""

    def __init__(self, *sides: float) -> None:
        self._sides = sides

    def detect(self, photo: object, size: int, doublings: int) -> list[tuple[NDArray[np.float64], float]]:
        return [(np.array([200.0 * k + 100, 100.0, side]), 1.0) for k, side in enumerate(self._sides)]


class _Second:
    """The second detector, which sees two of these three places."""

    def detect(self, photo: object) -> list[TurnedFace]:
        return [TurnedFace(np.array([x, 100.0]), 60.0, 90.0, 0.9, np.zeros((5, 2))) for x in (100.0, 500.0)]


@pytest.mark.parametrize(
    ("aparts", "left"),
    [
        ((0.01, 0.3, 0.2), ["dlib", "turned"]),  # what dlib alone takes for a face without landmarks goes
        ((0.3, 0.3, 0.005), ["dlib", "turned"]),
        ((0.01, 0.01, 0.01), ["dlib", "dlib", "dlib"]),
    ],
)
def test_faces_without_clear_landmarks_give_way_to_what_both_detectors_see(
    aligner: FaceAligner, monkeypatch: pytest.MonkeyPatch, aparts: tuple[float, ...], left: list[str]
) -> None:
    def read(self: object, photo: object, box: NDArray[np.float64], score: float) -> FoundFace:
        half = box[2] / 2
        corners = (box[0] - half, box[1] - half, box[0] + half, box[1] + half)
        return FoundFace(np.zeros((68, 2)), corners, score, aparts[int(box[0]) // 200])

    def read_turned(self: object, photo: object, face: TurnedFace) -> FoundFace:
        half, (x, y) = face.side / 2, face.centre
        return FoundFace(np.ones((68, 2)), (x - half, y - half, x + half, y + half), face.score, APART / 2)

    finder = FaceFinder()
    finder._detector, finder._turned = _Frontal(60.0, 59.0, 58.0), _Second()  # type: ignore[assignment]
    monkeypatch.setattr(finding.FaceFinder, "_read", read)
    monkeypatch.setattr(finding.FaceFinder, "_read_turned", read_turned)
    faces = finder.find(np.zeros((500, 600, 3), np.uint8))
    assert sorted("dlib" if face.landmarks[0, 0] == 0 else "turned" for face in faces) == sorted(left)
