"""The network that tells persons from what is behind them: on drawn heads, whose outline is known, and on faces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deltafast.errors import CheckpointError, DownloadError, InvalidInputError
from deltafast.face_networks import person_mask
from deltafast.face_networks.person_mask import PersonMask, load_person_mask
from deltafast.synthetic import HeadModel, render_frame, sequence_identities


@pytest.fixture(scope="module")
def network() -> PersonMask:
    try:
        return load_person_mask()
    except DownloadError as error:
        pytest.skip(f"the network cannot be fetched: {error}")


def test_a_drawn_heads_outline_is_found_to_the_pixel_or_two(network: PersonMask) -> None:
    model = HeadModel()
    frames = [render_frame(sequence_identities(2)[0], {"yaw": yaw}, model=model) for yaw in (0.0, 30.0)]
    images = torch.stack([torch.from_numpy(frame).permute(2, 0, 1) for frame in frames]) / 127.5 - 1
    background = images[:, :, :4, :4].mean((2, 3), keepdim=True)
    drawn = (images - background).abs().amax(1) > 0.08  # [2, R, R]
    share = torch.nn.functional.interpolate(network(images)[None], drawn.shape[1:], mode="bilinear")[0]
    found = share > 0.5
    overlap = (found & drawn).sum((1, 2)) / (found | drawn).sum((1, 2))
    assert bool((overlap > 0.9).all()), overlap.tolist()
    assert float((found[0] ^ found[1]).float().mean()) > 0.01, "another outline when the head turns"


def test_faces_are_persons_and_mirror_images_are_mirrored(network: PersonMask, faces: Tensor) -> None:
    share = network(faces)  # [2, 256, 256]
    assert bool((share[:, 96:200, 96:160] > 0.9).all())
    assert bool((share[:, :20, :20] < 0.3).any())
    assert float((network(faces.flip(3)).flip(2) - share).abs().mean()) < 0.03
    assert float((network(torch.nn.functional.avg_pool2d(faces, 2)) - share).abs().mean()) < 0.03, "at half the size"


def test_other_shapes_and_other_files_are_refused(network: PersonMask, monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in ((3, 64, 64), (1, 1, 64, 64), (1, 3, 64, 32), (1, 3, 0, 0)):
        with pytest.raises(InvalidInputError, match="images must be"):
            network(torch.zeros(shape))
    with pytest.raises(CheckpointError, match="not a TensorFlow Lite file"):
        person_mask._fill(PersonMask(), b"something else")
    monkeypatch.setattr(person_mask, "read_tflite_operators", lambda content, name: [])
    with pytest.raises(CheckpointError, match="0 layers with weights, expected"):
        person_mask._fill(PersonMask(), b"")
