"""dlib's descriptors come out of torch as dlib itself computes them; another file than dlib's is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from deltafast.errors import InvalidInputError
from deltafast.faces.descriptor_network import CHIP_SIZE, DescriptorNetwork
from deltafast.faces.meter import FaceMeter
from deltafast.faces.models import load_model, model_path

_MODEL = "dlib_face_recognition_resnet_model_v1.dat"


def test_the_network_in_torch_gives_dlibs_own_descriptors(meter: FaceMeter) -> None:
    rng = np.random.default_rng(0)
    noise = gaussian_filter(rng.normal(size=(3, CHIP_SIZE, CHIP_SIZE, 3)), (0, 6, 6, 0))
    chips = (128 + 60 * noise / noise.std()).clip(0, 255).astype(np.uint8)  # [3, S, S, 3]
    theirs = load_model("face_recognition_model_v1", _MODEL)
    expected = np.array([theirs.compute_face_descriptor(chip) for chip in chips])  # [3, 128]
    found = DescriptorNetwork(model_path(_MODEL).read_bytes())(chips)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert np.linalg.norm(expected[0] - expected[1]) > 0.1


def test_a_file_that_is_not_that_network_is_refused(meter: FaceMeter) -> None:
    data = model_path(_MODEL).read_bytes()
    with pytest.raises(InvalidInputError, match="expected 4736 numbers, found the end"):
        DescriptorNetwork(b"something else")
    with pytest.raises(InvalidInputError, match="does not fit into the file"):
        DescriptorNetwork(data[: len(data) // 2])
    with pytest.raises(InvalidInputError, match="expected 4736 numbers"):
        DescriptorNetwork(data[5000:])
    with pytest.raises(InvalidInputError, match="more than 14 blocks"):
        DescriptorNetwork(data + data[320:30000])
