"""Floats and bytes of images: there and back without loss, whatever the number of channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deltafast.errors import InvalidInputError
from deltafast.pixels import as_rgb, to_arrays, to_bytes, to_floats


def test_every_byte_survives_the_way_there_and_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    floats = to_floats(pixels)
    assert floats.shape == (3, 16, 16)
    assert (float(floats.min()), float(floats.max())) == (-1, 1)
    assert np.array_equal(to_arrays(floats), pixels)
    assert np.array_equal(to_arrays(to_bytes(floats)), pixels)
    assert to_bytes(torch.tensor([-3.0, 3.0, 0.0])).tolist() == [0, 255, 128]
    assert to_arrays(torch.zeros(2, 5, 1, 4, 6)).shape == (2, 5, 4, 6, 1)


def test_grey_and_opacity_become_rgb_over_white() -> None:
    grey = torch.tensor([-1.0, 0.5]).reshape(2, 1, 1, 1)
    assert as_rgb(grey)[:, :, 0, 0].tolist() == [[-1] * 3, [0.5] * 3]
    half = torch.tensor([-1.0, 0.0, 1.0, 0.0]).reshape(1, 4, 1, 1).requires_grad_(True)
    seen = as_rgb(half)
    assert seen[0, :, 0, 0].tolist() == [0, 0.5, 1]
    seen.sum().backward()
    assert half.grad is not None
    pixels = to_bytes(torch.rand(2, 4, 3, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    difference = as_rgb(pixels).int() - to_bytes(as_rgb(to_floats(pixels))).int()
    assert int(difference.abs().max()) == 0
    assert torch.equal(as_rgb(pixels[:, :3]), pixels[:, :3])
    with pytest.raises(InvalidInputError, match="these have 2"):
        as_rgb(torch.zeros(1, 2, 4, 4))
