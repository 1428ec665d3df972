"""How different two aligned faces look: on a network's features, on pixels, in landmarks, and as persons."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.face_networks.identity import IdentityDistance
from deltafast.face_networks.landmarks import FaceLandmarks, landmark_distance
from deltafast.projection.backbone import MobileNetV2Features, normalise_images

__all__ = ["FaceDescription", "FaceDistance", "face_crop", "face_window"]

_LAYERS = (3, 6, 13)  # 24, 32 and 96 channels at 1/4, 1/8 and 1/16 of the image
_WHOLE = 256  # pixels: what lies around the face is compared at this size at most
_PIXEL_SIZES = (128, 32)
_CROP = (0.22, 0.28, 0.56)  # left, top and side of the face within the image, as shares of the image's side


def face_window(size: int, device: torch.device | None = None) -> Tensor:
    """Weight of each pixel of an FFHQ-aligned face, `[size, size]`: 1 on the face, falling to 0.1 at the border."""
    axis = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    radius = torch.sqrt(((x - 0.5) / 0.34) ** 2 + ((y - 0.54) / 0.40) ** 2)  # 1 on the outline of the face
    return 0.1 + 0.9 * torch.sigmoid((1.15 - radius) * 10)


def face_crop(images: Tensor) -> Tensor:
    """Return the square from brows to chin of FFHQ-aligned images `[N, 3, R, R]`: `[N, 3, S, S]`, S about 0.56 R."""
    size = images.shape[-1]
    left, top, side = (round(share * size) for share in _CROP)
    return images[:, :, top : top + side, left : left + side]


@dataclass(frozen=True)
class FaceDescription:
    """What is compared of N images: of whole and face, unit-length features and reduced images; points; person."""

    views: tuple[list[Tensor], ...]  # each [N, C, h, w]
    points: Tensor | None  # [N, 478, 2]
    person: Tensor | None  # [N, 128]


class FaceDistance(nn.Module):
    """Perceptual, pixel, landmark and identity distances of images to fixed targets.

    Two views are compared, with equal weight: the whole image at up to 256 pixels, weighted towards the face, and the
    face alone in full resolution, where a likeness is decided. Features are compared as in LPIPS (Zhang et al. 2018,
    arXiv 1801.03924): every position's channel vector scaled to unit length, squared differences, mean over
    positions; here without learned channel weights, which is why it is not called LPIPS. All networks stay frozen;
    without `landmarks` or `identity` that distance is left out.
    """

    def __init__(
        self,
        backbone: MobileNetV2Features,
        landmarks: FaceLandmarks | None = None,
        identity: IdentityDistance | None = None,
    ) -> None:
        super().__init__()
        # a copy: an encoder whose backbone changed its layout would round otherwise from then on
        self.backbone = copy.deepcopy(backbone).eval().requires_grad_(False)
        self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
        self.landmarks = landmarks
        self.identity = identity

    def describe(self, images: Tensor) -> FaceDescription:
        """Describe `images` `[N, 3, R, R]` in [-1, 1], R at least 32, for comparison."""
        whole = images
        if images.shape[-1] > _WHOLE:
            whole = F.interpolate(images, (_WHOLE, _WHOLE), mode="area")
        views = (self._view(whole), self._view(face_crop(images)))
        points = None if self.landmarks is None else self.landmarks(images)
        person = None if self.identity is None else self.identity.describe(images)
        return FaceDescription(views, points, person)

    def _view(self, images: Tensor) -> list[Tensor]:
        x = normalise_images(images).contiguous(memory_format=torch.channels_last)  # [N, 3, R, R]
        features = self.backbone(x, _LAYERS)
        unit = [f * torch.rsqrt(f.square().sum(1, keepdim=True) + 1e-8) for f in features]
        return unit + [F.adaptive_avg_pool2d(images, size) for size in _PIXEL_SIZES]

    def forward(self, images: Tensor, targets: FaceDescription) -> dict[str, Tensor]:
        """Compare `images` `[N, 3, R, R]` with `describe(...)` of N targets: name of the distance to `[N]`.

        "perceptual" and "pixel" (mean square over colour channels and sizes); with those networks also "landmark", in
        units of the inter-ocular distance, and "identity", 1 - cosine.
        """
        described = self.describe(images)
        perceptual, pixel = [], []
        for number, (ours, theirs) in enumerate(zip(described.views, targets.views, strict=True)):
            terms = [_difference(a, b, windowed=number == 0) for a, b in zip(ours, theirs, strict=True)]
            perceptual.append(torch.stack(terms[: len(_LAYERS)]).mean(0))  # [N]
            pixel.append(torch.stack(terms[len(_LAYERS) :]).mean(0) / 3)  # [N]
        result = {"perceptual": torch.stack(perceptual).mean(0), "pixel": torch.stack(pixel).mean(0)}
        if described.points is not None and targets.points is not None:
            result["landmark"] = landmark_distance(described.points, targets.points)
        if described.person is not None and targets.person is not None:
            result["identity"] = 1 - (described.person * targets.person).sum(1)
        return result


def _difference(ours: Tensor, theirs: Tensor, *, windowed: bool) -> Tensor:
    """Squared difference of `[N, C, h, w]`, summed over channels, mean over positions: `[N]`."""
    difference = (ours - theirs).square().sum(1)  # [N, h, w]
    if not windowed:
        return difference.mean((1, 2))
    window = face_window(ours.shape[-1], ours.device)  # [h, w]
    return (difference * window).sum((1, 2)) / window.sum()
