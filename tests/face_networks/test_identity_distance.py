"""The identity distance: SFace against ONNX Runtime, what it tells apart, its gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from make_face_networks_golden import golden_crops
from torch import Tensor

from deltafast.errors import CheckpointError, DownloadError, InvalidInputError
from deltafast.face_networks.identity import IdentityDistance, load_identity_distance
from deltafast.face_networks.onnx_weights import read_onnx_weights


@pytest.fixture(scope="module")
def distance() -> IdentityDistance:
    try:
        return load_identity_distance()
    except DownloadError as error:
        pytest.skip(f"the identity network cannot be fetched: {error}")


def test_network_gives_what_onnxruntime_gives(
    distance: IdentityDistance, faces: Tensor, golden: dict[str, Any]
) -> None:
    descriptors = distance.network(golden_crops(faces))
    expected = torch.tensor(golden["descriptors"])  # [2, 128]
    assert float((descriptors - expected).abs().max()) < 1e-3 * float(expected.abs().max())


def test_persons_are_told_apart_and_pictures_are_not(distance: IdentityDistance, faces: Tensor) -> None:
    targets = distance.describe(faces)
    assert torch.allclose(targets.norm(dim=1), torch.ones(2))
    assert float(distance(faces, targets).abs().max()) < 1e-5
    same = [
        faces.flip(3),
        faces * 0.6 - 0.2,  # darker
        F.interpolate(faces, scale_factor=4, mode="bicubic", antialias=True),
        F.interpolate(faces, (128, 128), mode="bilinear", antialias=True),
    ]
    assert max(float(distance(images, targets).max()) for images in same) < 0.15
    assert float(distance(faces.flip(0), targets).min()) > 0.5


def test_gradient_is_the_slope_of_the_distance(distance: IdentityDistance, faces: Tensor) -> None:
    exact = copy.deepcopy(distance).double()
    images, targets = faces[:1].double(), distance.describe(faces[1:]).double()
    start = images.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(exact(start, targets).sum(), start)
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ahead, behind = (float(exact(images + h * direction, targets)) for h in (1e-8, -1e-8))  # far from the kinks
    assert (ahead - behind) / 2e-8 == pytest.approx(float((gradient * direction).sum()), rel=1e-3)
    assert not any(p.requires_grad for p in distance.parameters())


def test_wrong_images_are_refused_in_words(distance: IdentityDistance) -> None:
    with pytest.raises(InvalidInputError, match=r"square images \[N, 3, R, R\], got \(1, 3, 64, 32\)"):
        distance.describe(torch.zeros(1, 3, 64, 32))
    assert distance.describe(torch.zeros(0, 3, 64, 64)).shape == (0, 128)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2, len(content)]) + content


def test_weights_are_read_by_name() -> None:
    packed = b"\x0a\x02\x02\x03" + b"\x10\x03" + _field(8, b"w") + _field(9, bytes([1, 2, 255, 4, 5, 6]))
    alone = b"\x08\x02" + b"\x10\x01" + _field(4, torch.tensor([1.5, -2.0]).numpy().tobytes()) + _field(8, b"b")
    content = b"\x08\x06" + _field(7, _field(2, b"graph") + _field(5, packed) + _field(5, alone))
    weights = read_onnx_weights(content, "tiny.onnx")
    assert weights["w"].tolist() == [[1, 2, -1], [4, 5, 6]]
    assert weights["b"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04" + bytes(50),
        b"\x3a\x7f",
        b"\xff" * 20,
        _field(7, _field(5, b"\x08\x03\x10\x01" + _field(9, bytes(8)))),  # three numbers in eight bytes
        _field(7, _field(5, b"\x08\x01\x10\x63" + _field(9, bytes(8)))),  # of no known type
    ],
)
def test_other_bytes_are_no_onnx_file(content: bytes) -> None:
    with pytest.raises(CheckpointError, match="not an ONNX file"):
        read_onnx_weights(content, "weights.onnx")
