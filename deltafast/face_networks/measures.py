"""Pose, mouth, eyes, brows, light and gaze of faces in numbers, differentiably, off the face mesh: for losses.

What `deltafast.faces.attributes` measures off dlib's landmarks, by another network, because what a loss has seen cannot
judge.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.face_networks.landmarks import LANDMARK_PARTS, FaceLandmarks, LandmarkReading

__all__ = ["FACE_MEASURES", "FaceMeasures"]

FACE_MEASURES = (
    "yaw",
    "pitch",
    "roll",
    "mouth_width",
    "mouth_opening",
    "eye_openness",
    "brow_height",
    "shading",
    "vertical_shading",
    "gaze",
)

# Points of the face mesh; left and right are the viewer's.
_ACROSS = ((234, 454), (127, 356), (93, 323), (132, 361), (33, 263))  # from left to right, ears to eyes
_FOREHEAD, _CHIN = 10, 152
_EARS, _MOUTH_CORNERS, _OUTER_EYE_CORNERS = (234, 454), (61, 291), (33, 263)
_LIP_GAPS = ((13, 14), (82, 87), (312, 317))
_EYES = (  # lid to lid, corner to corner
    (((159, 145), (158, 153), (160, 144)), (33, 133)),
    (((386, 374), (385, 380), (387, 373)), (362, 263)),
)
_EYE_CORNERS = (33, 133, 362, 263)
_IRISES = ((468, (33, 133)), (473, (362, 263)))  # middle of the iris, the eye's corners
_LEFT_CHEEK = (50, 101, 118, 117, 123, 187, 205, 36)
_RIGHT_CHEEK = (280, 330, 347, 346, 352, 411, 425, 266)
_UPPER_SKIN = (50, 101, 118, 36, 280, 330, 347, 266)  # below the eyes
_LOWER_SKIN = (138, 135, 169, 210, 367, 364, 394, 430)  # between mouth and jaw
_LIGHT_SIZE = 64  # pixels at which brightness is read: a pixel covers a patch of skin
_LUMINANCE = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709
_GAMMA = 2.2
_DARK = 1e-3  # added to luminances, so that their logarithms exist


class FaceMeasures(nn.Module):
    """Reads `FACE_MEASURES` off FFHQ-aligned images; differentiable with respect to the images."""

    def __init__(self, landmarks: FaceLandmarks) -> None:
        super().__init__()
        self.landmarks = landmarks

    def forward(self, images: Tensor) -> Tensor:
        """Return the measures `[N, 10]`, in the order of `FACE_MEASURES`, of `images` `[N, 3, R, R]` in [-1, 1].

        `yaw`, `pitch`, `roll`: degrees. `mouth_width`, `mouth_opening` (between the inner lips): shares of the face's
        width. `eye_openness`: height over width. `brow_height`: of the brows above the eyes' corners, a share of the
        distance between the outer ones. All lengths are measured in depth too, so turning the head does not count.
        `shading`: ln(right / left) of the cheeks' linear luminance, the viewer's right; `vertical_shading`:
        ln(upper / lower) of the skin's. `gaze`: by how much the irises stand to the viewer's right of the eyes'
        middles, a share of the eyes' width; 0 looks straight out of the head. Raises `InvalidInputError` for other
        shapes and R below 16.
        """
        return self.of(images, self.landmarks.read(images))

    def of(self, images: Tensor, reading: LandmarkReading) -> Tensor:
        """Return the measures `[N, 10]` of images whose landmarks have been read."""
        points = torch.cat([reading.points, reading.depth[..., None]], 2)  # [N, 478, 3]
        across = _unit(sum(_span(points, pair) for pair in _ACROSS))  # [N, 3]
        down = points[:, _CHIN] - points[:, _FOREHEAD]
        down = _unit(down - (down * across).sum(1, keepdim=True) * across)  # [N, 3]
        width = _length(points, _EARS)  # [N]
        eyes = [
            torch.stack([_length(points, pair) for pair in lids]).mean(0) / _length(points, corners)
            for lids, corners in _EYES
        ]
        brows = points[:, LANDMARK_PARTS["brows"]].mean(1)  # [N, 3]
        above = ((points[:, _EYE_CORNERS].mean(1) - brows) * down).sum(1)  # [N]
        gaze = [
            ((points[:, iris] - points[:, list(corners)].mean(1)) * across).sum(1) / _length(points, corners)
            for iris, corners in _IRISES
        ]
        luminance = _luminance(images)  # [N, 1, 64, 64]

        def log_ratio(first: Sequence[int], second: Sequence[int]) -> Tensor:
            one, other = (_brightness(luminance, reading.points[:, list(at)]) for at in (first, second))
            return torch.log((one + _DARK) / (other + _DARK))

        return torch.stack(
            [
                torch.rad2deg(torch.atan2(across[:, 2], across[:, 0])),
                torch.rad2deg(torch.atan2(down[:, 2], down[:, 1])),
                torch.rad2deg(torch.atan2(across[:, 1], across[:, 0])),
                _length(points, _MOUTH_CORNERS) / width,
                torch.stack([_length(points, pair) for pair in _LIP_GAPS]).mean(0) / width,
                torch.stack(eyes).mean(0),
                above / _length(points, _OUTER_EYE_CORNERS),
                log_ratio(_RIGHT_CHEEK, _LEFT_CHEEK),
                log_ratio(_UPPER_SKIN, _LOWER_SKIN),
                torch.stack(gaze).mean(0),
            ],
            1,
        )


def _span(points: Tensor, pair: tuple[int, int]) -> Tensor:
    return points[:, pair[1]] - points[:, pair[0]]  # [N, 3]


def _length(points: Tensor, pair: tuple[int, int]) -> Tensor:
    return _span(points, pair).square().sum(1).add(1e-12).sqrt()  # [N]


def _unit(vectors: Tensor | int) -> Tensor:
    return F.normalize(torch.as_tensor(vectors), dim=1)


def _luminance(images: Tensor) -> Tensor:
    """Linear luminance `[N, 1, 64, 64]` in [0, 1]; the curve is that of gamma 2.2."""
    size = (min(_LIGHT_SIZE, images.shape[2]),) * 2
    linear = ((F.interpolate(images, size, mode="area").clamp(-1, 1) + 1) / 2).pow(_GAMMA)
    return (linear * linear.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _brightness(luminance: Tensor, points: Tensor) -> Tensor:
    """Mean luminance `[N]` at `points` `[N, P, 2]`, which take no gradient: light is changed, not where it is read."""
    grid = (points.detach() * 2 - 1)[:, None]  # [N, 1, P, 2]
    return F.grid_sample(luminance, grid, mode="bilinear", align_corners=False)[:, 0, 0].mean(1)
