"""A photo carried along edits: itself at its own latent, changed as the generator's picture changes, else untouched."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from mesh_faces import landmarks
from torch import Tensor

from deltafast.errors import InvalidInputError
from deltafast.projection.carried import CarriedPhoto

PIVOT = torch.ones(1, 2, 8)
W_AVG = torch.zeros(8)


def synthesise(ws: Tensor, noise_mode: str = "const") -> Tensor:
    """Grey pictures `[N, 3, 128, 128]`, 0.5 bright where ws is 1; component 0 moves the face, component 1 lights it."""
    light = (0.5 * (1 + ws[:, 0, 1] - 1)).clamp(0, 1) * 2 - 1
    images = light[:, None, None, None].expand(-1, 3, 128, 128).clone()
    images[:, :, 0, 0] = ws[:, 0, :1] - 1
    return images


@pytest.fixture
def photo() -> Tensor:
    """Freckles on a grey face, and nothing in the upper left pixel, `[1, 3, 128, 128]`."""
    coarse = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.5
    image = F.interpolate(coarse, (128, 128), mode="bicubic").clamp(-1, 1)
    image[:, :, 0, 0] = 0
    return image


def changed(component: int, by: float) -> Tensor:
    """The pivot with one component changed."""
    ws = PIVOT.clone()
    ws[:, :, component] += by
    return ws


def test_the_pivots_picture_is_the_photo(photo: Tensor) -> None:
    image = CarriedPhoto(synthesise, PIVOT, photo, W_AVG, landmarks())(PIVOT)
    torch.testing.assert_close(image, photo, atol=5e-3, rtol=0)


def test_light_on_the_face_changes_by_the_generators_factor_and_the_background_not_at_all(photo: Tensor) -> None:
    image = CarriedPhoto(synthesise, PIVOT, photo, W_AVG, landmarks())(changed(1, -0.5))
    before, after = (photo + 1) / 2, (image + 1) / 2
    middle = (slice(None), slice(None), slice(56, 72), slice(56, 72))
    assert float((after[middle] / before[middle]).mean()) == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(after[:, :, -8:], before[:, :, -8:], atol=0.02, rtol=0)


def test_the_photo_moves_with_the_face(photo: Tensor) -> None:
    image = CarriedPhoto(synthesise, PIVOT, photo, W_AVG, landmarks())(changed(0, 0.625))  # by 8 of 128 pixels
    middle = image[:, :, 56:72, 56:72]
    assert float((middle - photo[:, :, 56:72, 48:64]).abs().mean()) < 0.05
    assert float((middle - photo[:, :, 56:72, 56:72]).abs().mean()) > 0.1


def test_far_latents_and_pictures_without_a_face_are_the_generators_own(photo: Tensor) -> None:
    carried = CarriedPhoto(synthesise, PIVOT, photo, W_AVG, landmarks())
    other = -PIVOT
    assert torch.equal(carried(other), synthesise(other))
    carried._landmarks = landmarks(presence=0.1)
    carried._before = {"const": (synthesise(PIVOT), carried._photo_mesh)}
    near = changed(1, -0.2)
    assert torch.equal(carried(near), synthesise(near))
    with pytest.raises(InvalidInputError, match="no face mesh"):
        CarriedPhoto(synthesise, PIVOT, photo, W_AVG, landmarks(presence=0.1))


def test_a_sample_does_not_depend_on_its_batch(photo: Tensor) -> None:
    carried = CarriedPhoto(synthesise, PIVOT, photo, W_AVG, landmarks())
    ws = torch.cat([changed(0, 0.3), PIVOT, changed(1, -0.3)])
    assert torch.equal(carried(ws)[1:], carried(ws[1:]))
    assert carried(ws[:0]).shape == (0, 3, 128, 128)
