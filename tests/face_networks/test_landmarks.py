"""The landmark network against the runtime of its own file format, its geometry, its gradients, the distance."""

from __future__ import annotations

import copy
import struct
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from make_face_networks_golden import POINTS
from torch import Tensor

from deltafast.errors import CheckpointError, DownloadError, InvalidInputError
from deltafast.face_networks.landmarks import (
    LANDMARK_PARTS,
    FaceLandmarks,
    LandmarkWeights,
    landmark_distance,
    load_face_landmarks,
)
from deltafast.face_networks.tflite import read_tflite_operators
from deltafast.synthetic import HeadModel, render_frame, sequence_identities

_MIRRORED = ((33, 263), (133, 362), (61, 291), (468, 473), (159, 386), (234, 454))


@pytest.fixture(scope="module")
def landmarks() -> FaceLandmarks:
    try:
        return load_face_landmarks()
    except DownloadError as error:
        pytest.skip(f"the landmark network cannot be fetched: {error}")


@pytest.fixture(scope="module")
def heads() -> dict[str, Tensor]:
    """One synthetic head, `[1, 3, 256, 256]` each: neutral, and with one attribute changed."""
    model, identity = HeadModel(), sequence_identities(2)[0]
    asked: dict[str, dict[str, float]] = {
        "neutral": {},
        "left": {"yaw": -30.0},
        "right": {"yaw": 30.0},
        "closed": {"eyes-closed": 1.0},
        "smile": {"smile": 1.0},
    }
    images = {name: render_frame(identity, values, model=model) for name, values in asked.items()}
    return {name: torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1 for name, image in images.items()}


def _eye_opening(points: Tensor) -> float:
    height = (points[0, [159, 386]] - points[0, [145, 374]]).norm(dim=1).mean()
    return float(height / (points[0, 33] - points[0, 133]).norm())


def test_network_gives_what_litert_gives(landmarks: FaceLandmarks, faces: Tensor, golden: dict[str, Any]) -> None:
    points, presence = landmarks.network((faces + 1) / 2)
    assert float((points[:, POINTS] - torch.tensor(golden["points"])).abs().max()) < 0.02  # pixels of 256
    assert torch.allclose(presence, torch.tensor(golden["presence"]), atol=0.01)


def test_points_do_not_depend_on_resolution_or_batch(landmarks: FaceLandmarks, faces: Tensor) -> None:
    points = landmarks(faces)
    large = landmarks(F.interpolate(faces, scale_factor=4, mode="bicubic", antialias=True))
    odd = landmarks(F.interpolate(faces, (301, 301), mode="bicubic", antialias=True))
    for other, bound in ((large, 0.01), (odd, 0.02), (torch.cat([landmarks(face[None]) for face in faces]), 1e-5)):
        assert float(landmark_distance(other, points).max()) < bound
    assert landmarks(faces[:0]).shape == (0, 478, 2)


def test_points_lie_where_the_face_is(landmarks: FaceLandmarks, faces: Tensor) -> None:
    reading = landmarks.read(faces)
    assert float(reading.presence.min()) > 0.99
    eyes = (reading.points[:, 468] + reading.points[:, 473]) / 2  # [2, 2]; FFHQ's crop fixes them, about
    assert float((eyes - torch.tensor([0.5, 0.48])).abs().max()) < 0.06
    assert float(landmarks.read(torch.zeros(1, 3, 256, 256)).presence) < 0.5
    assert bool((reading.depth[:, 1] < reading.depth[:, 234]).all())  # the nose is nearer than the cheek's edge
    moved = landmarks(faces.roll((8, -8), (2, 3)))  # down and to the left by 1/32
    shift = (moved - reading.points).mean(1)  # [2, 2]
    assert torch.allclose(shift, torch.tensor([[-1 / 32, 1 / 32]]).expand(2, 2), atol=0.003)


def test_mirrored_images_have_mirrored_points(landmarks: FaceLandmarks, faces: Tensor) -> None:
    points, mirrored = landmarks(faces), landmarks(faces.flip(3))
    a, b = (list(side) for side in zip(*_MIRRORED, strict=True))
    back = torch.stack([1 - mirrored[:, b, 0], mirrored[:, b, 1]], 2)  # [2, pairs, 2]
    unit = (points[:, 33] - points[:, 263]).norm(dim=1)
    assert float(((points[:, a] - back).norm(dim=2).mean(1) / unit).max()) < 0.03


def test_synthetic_heads_are_followed(landmarks: FaceLandmarks, heads: dict[str, Tensor]) -> None:
    points = {name: landmarks(image) for name, image in heads.items()}
    assert _eye_opening(points["closed"]) < 0.4 * _eye_opening(points["neutral"])
    width = {name: float((p[0, 61] - p[0, 291]).norm()) for name, p in points.items()}
    assert width["smile"] > 1.1 * width["neutral"]
    cheeks = [points[name][0, [234, 454], 0] for name in ("left", "neutral", "right")]  # [2] each
    noses = [points[name][0, 1, 0] for name in ("left", "neutral", "right")]
    shares = [float((nose - c[0]) / (c[1] - c[0])) for nose, c in zip(noses, cheeks, strict=True)]
    assert abs(shares[1] - 0.5) < 0.1
    assert min(abs(shares[0] - shares[1]), abs(shares[2] - shares[1])) > 0.2
    assert (shares[0] - shares[1]) * (shares[2] - shares[1]) < 0
    for name in ("left", "right", "closed", "smile"):
        assert float(landmark_distance(points[name], points["neutral"])) > 0.03


def test_gradient_is_the_slope_of_the_distance(landmarks: FaceLandmarks, faces: Tensor) -> None:
    exact = copy.deepcopy(landmarks).double()
    images, target = faces[:1].double(), landmarks(faces[1:]).double()
    start = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(landmark_distance(exact(start), target).sum(), start)
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ahead, behind = (float(landmark_distance(exact(images + h * direction), target)) for h in (1e-7, -1e-7))
    assert (ahead - behind) / 2e-7 == pytest.approx(float((gradient * direction).sum()), rel=1e-3)
    assert not any(p.requires_grad for p in landmarks.parameters())


def test_descending_the_distance_moves_the_points(landmarks: FaceLandmarks, heads: dict[str, Tensor]) -> None:
    target = landmarks(heads["closed"])
    image = heads["neutral"].clone().requires_grad_(True)
    optimiser = torch.optim.Adam([image], 0.02)
    distances = []
    for _ in range(6):
        optimiser.zero_grad()
        distance = landmark_distance(landmarks(image), target).sum()
        distance.backward()
        optimiser.step()
        distances.append(float(distance.detach()))
    assert distances[-1] < 0.6 * distances[0]


def test_distance_is_in_units_of_the_inter_ocular_distance() -> None:
    points = torch.rand(3, 478, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[:, 33] = torch.tensor([0.3, 0.5])
    points[:, 263] = torch.tensor([0.5, 0.5])
    only = LandmarkWeights(eye_openings=0, mouth_openings=0)
    moved = landmark_distance(points + torch.tensor([0.06, 0.08]), points, only)
    assert torch.allclose(moved, torch.full_like(moved, 0.5), atol=1e-3)
    assert float(landmark_distance(points + 0.3, points, LandmarkWeights(*(0,) * 6)).max()) < 1e-9  # nothing opened
    assert float(landmark_distance(points, points).abs().max()) < 1e-12
    shut = points.clone()
    shut[:, [159, 158, 160, 386, 385, 387]] = points[:, [145, 153, 144, 374, 380, 373]]
    assert bool((landmark_distance(shut, points) > landmark_distance(shut, points, only)).all())


def test_distance_has_a_gradient_at_zero() -> None:
    points = torch.rand(2, 478, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    landmark_distance(points, points.detach()).sum().backward()
    assert points.grad is not None
    assert float(points.grad.abs().max()) == 0


def test_parts_name_each_point_once() -> None:
    named = [point for part in LANDMARK_PARTS.values() for point in part]
    assert len(named) == len(set(named))
    assert min(named) >= 0
    assert max(named) < 478


def test_wrong_inputs_are_refused_in_words(landmarks: FaceLandmarks) -> None:
    with pytest.raises(InvalidInputError, match=r"square images \[N, 3, R, R\], got \(1, 3, 64, 32\)"):
        landmarks(torch.zeros(1, 3, 64, 32))
    with pytest.raises(InvalidInputError, match="at least 16 pixels a side, got 8"):
        landmarks(torch.zeros(1, 3, 8, 8))
    with pytest.raises(InvalidInputError, match=r"two tensors \[N, 478, 2\], got \(1, 68, 2\)"):
        landmark_distance(torch.zeros(1, 68, 2), torch.zeros(1, 68, 2))
    with pytest.raises(InvalidInputError, match="at least one weight"):
        landmark_distance(torch.zeros(1, 478, 2), torch.zeros(1, 478, 2), LandmarkWeights(*(0,) * 8))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a TensorFlow Lite file"),
        (b"PK\x03\x04" + bytes(100), "not a TensorFlow Lite file"),
        (struct.pack("<I", 8) + b"TFL3", "damaged"),
        (struct.pack("<I", 2**31) + b"TFL3" + bytes(64), "damaged"),
        (struct.pack("<I", 8) + b"TFL3" + bytes(64), "damaged"),
    ],
)
def test_other_bytes_are_no_tflite_file(content: bytes, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        read_tflite_operators(content, "weights.tflite")
