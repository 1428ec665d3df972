"""The network behind the Fréchet distance is the published one: it knows what a photograph shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deltafast.errors import DownloadError
from deltafast.evaluation.efficientnet import EfficientNetFeatures, load_efficientnet_lite0
from deltafast.evaluation.feature_networks import MOBILENET, cached_inception, load_feature_network

CATS = {281, 282, 283, 284, 285}  # ImageNet's classes of house cats
ESPRESSO = 967


@pytest.fixture(scope="module")
def network() -> EfficientNetFeatures:
    try:
        return load_efficientnet_lite0()
    except DownloadError as error:
        pytest.skip(f"EfficientNet-Lite0 cannot be fetched: {error}")


@pytest.mark.parametrize(("photo", "classes"), [("chelsea", CATS), ("coffee", {ESPRESSO})])
def test_photographs_are_recognised(network: EfficientNetFeatures, photo: str, classes: set[int]) -> None:
    image = getattr(pytest.importorskip("skimage.data"), photo)()
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = torch.from_numpy(image[top : top + side, left : left + side].copy()).permute(2, 0, 1)[None].float()
    square = F.interpolate(square / 127.5 - 1, (224, 224), mode="bicubic", antialias=True, align_corners=False)
    assert int(network.classify(square.clamp(-1, 1)).argmax()) in classes


@pytest.mark.usefixtures("network", "face_networks")
def test_it_is_the_network_of_the_frechet_distance_where_there_is_no_inception() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    if cached_inception() is None:
        found = load_feature_network()
        assert (found.key, found.is_fid) == ("efficientnet-lite0", False)
        assert found.extract(image).shape == (320,)
    old = load_feature_network(MOBILENET)
    assert old.key == "mobilenetv2"
    assert old.extract(image).shape == (320,)
