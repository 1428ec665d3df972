"""Where each pixel of an edited picture lies in the photo and in the generator's pictures, told by a face mesh.

Three meshes are read: of the photo, of the generator's picture of the photo's latent, and of its edited picture. The
photo's mesh, moved as the generator's moved, is the mesh of the result; between its points a pixel's place in each of
the three is interpolated linearly in a triangulation, and from the face's outline to the border of the picture, which
stays where it is, it falls off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.interpolate import LinearNDInterpolator
from scipy.ndimage import gaussian_filter
from scipy.spatial import ConvexHull
from torch import Tensor

from deltafast.face_networks.landmarks import LANDMARK_PARTS

__all__ = ["MeshFlow", "Region", "mesh_flow", "sampled", "shortfall"]

Array = NDArray[np.float64]

_GRID = 128  # places at which a flow is computed, along each side; between them it is interpolated
_SMOOTH = 1.0  # of these places: the creases along the triangles' edges
_SHUT = 0.05  # of how far an eye is open in the photo: as far as it closes
_AROUND = 0.15  # of a face's spread: so far around the mouth skin follows what its shape was short of
_ANSWER = 2.0  # times what a mouth was short of is added, by trial: the flow is smoothed once more
_BORDER = 9  # points along each side of the picture that stay

_EYES = (LANDMARK_PARTS["eyes"][:16], LANDMARK_PARTS["eyes"][16:])
_LIDS = (((159, 145), (158, 153), (160, 144)), ((386, 374), (385, 380), (387, 373)))  # upper, lower
_IRISES = (LANDMARK_PARTS["irises"][:5], LANDMARK_PARTS["irises"][5:])
_INNER_LIPS = ((13, 14), (82, 87), (312, 317))
_MOUTH_CORNERS = (61, 291)


@dataclass(frozen=True)
class Region:
    """A part of the result that shows something else than the photo does: eyes that close, a mouth that opens.

    `centre` (x, y) and half `axes` of an ellipse, in shares of the picture's side; `share`, 0 to 1, of how much of the
    photo's own detail is no longer seen there.
    """

    centre: tuple[float, float]
    axes: tuple[float, float]
    share: float


@dataclass(frozen=True)
class MeshFlow:
    """Where the pixels of a result lie elsewhere, fp32 `[2, G, G]` of offsets (x, y) in shares of the picture's side.

    `to_photo`, `to_pivot` (the generator's picture of the photo's latent) and `to_edited`; `outline`: lines `[K, 3]`,
    a x + b y + c <= 0 for what lies within the face of the result; `changed`: what the photo does not show.
    """

    to_photo: Tensor
    to_pivot: Tensor
    to_edited: Tensor
    outline: Array
    changed: tuple[Region, ...]


def mesh_flow(photo: Array, pivot: Array, edited: Array, missing: Array | None = None) -> MeshFlow:
    """Return the flow of a result from three meshes, points `[478, 2]` (x, y) in shares of the picture's side.

    `missing` `[478, 2]`: by how much the mouth of a first result fell short of its shape (`shortfall`).
    """
    result, changed = _moved(photo, pivot, edited)
    if missing is not None:
        result = result + missing
    points = np.concatenate([result, _border()])  # [P, 2]
    still = np.zeros((len(points) - len(result), 6))
    offsets = np.concatenate([photo - result, pivot - result, edited - result], axis=1)  # [478, 6]
    places = (np.arange(_GRID) + 0.5) / _GRID
    x, y = np.meshgrid(places, places)
    field = LinearNDInterpolator(points, np.concatenate([offsets, still]), fill_value=0.0)(x, y)  # [G, G, 6]
    field = gaussian_filter(field, (_SMOOTH, _SMOOTH, 0.0))
    flows = torch.from_numpy(np.ascontiguousarray(field.transpose(2, 0, 1))).float()  # [6, G, G]
    return MeshFlow(flows[:2], flows[2:4], flows[4:], ConvexHull(result).equations, changed)


def shortfall(photo: Array, pivot: Array, edited: Array, photo_read: Array, result_read: Array) -> Array:
    """Return by how much the mouth in a result falls short of the shape that it was to have, `[478, 2]`.

    `photo_read` and `result_read`: meshes of the photo and of the result, read at one size. The corners of the mouth
    are where a smile moves most, and where smoothness of the flow costs most.
    """
    lips = list(LANDMARK_PARTS["lips"])
    wanted = _moved(photo, pivot, edited)[0][lips] - photo[lips]
    short = wanted - (result_read[lips] - photo_read[lips])
    short = _ANSWER * (short - short.mean(axis=0))  # [40, 2]: its shape, not its place
    apart = np.linalg.norm(photo[:, None] - photo[lips], axis=-1) / _spread(photo)  # [478, 40]
    weight = np.exp(-0.5 * (apart / _AROUND) ** 2)
    total = weight.sum(axis=1, keepdims=True)
    near = np.exp(-0.5 * (apart.min(axis=1, keepdims=True) / _AROUND) ** 2)  # [478, 1]
    result: Array = near * (weight @ short) / np.maximum(total, 1e-12)
    result[lips] = short
    return result


def sampled(image: Tensor, flow: Tensor, size: int) -> Tensor:
    """Return `image` `[1, C, H, W]` at the places of `flow` `[2, G, G]`, as `[1, C, size, size]` (bicubic)."""
    offsets = F.interpolate(flow[None].to(image), (size, size), mode="bilinear", align_corners=False)[0]
    places = (torch.arange(size, device=image.device, dtype=image.dtype) + 0.5) / size
    y, x = torch.meshgrid(places, places, indexing="ij")
    grid = torch.stack([x + offsets[0], y + offsets[1]], dim=-1)[None] * 2 - 1  # [1, size, size, 2]
    return F.grid_sample(image, grid, mode="bicubic", padding_mode="border", align_corners=False)


def _border() -> Array:
    steps = np.linspace(0, 1, _BORDER)
    sides = [(t, 0.0) for t in steps] + [(t, 1.0) for t in steps]
    sides += [(0.0, t) for t in steps[1:-1]] + [(1.0, t) for t in steps[1:-1]]
    return np.array(sides)


def _moved(photo: Array, pivot: Array, edited: Array) -> tuple[Array, tuple[Region, ...]]:
    """The photo's mesh moved as the generator's moved, in proportion to the faces' sizes, and what it newly shows.

    Lids move up and down about the eye's middle by as much as the generator's, until they meet: they never cross.
    """
    scale = _spread(photo) / _spread(pivot)
    result = photo + scale * (edited - pivot)
    regions = []
    for eye, iris, lids in zip(_EYES, _IRISES, _LIDS, strict=True):
        points = [*eye, *iris]
        opened = max(_gap(photo, lids), 1e-3)
        factor = max(1 + scale * (_gap(edited, lids) - _gap(pivot, lids)) / opened, _SHUT)
        centre = result[list(eye)].mean(axis=0)
        result[points, 1] = centre[1] + factor * (photo[points, 1] - photo[list(eye), 1].mean())
        width = float(np.ptp(photo[list(eye), 0]))
        regions.append(_region(centre, (0.75 * width, 0.5 * width), 2 * abs(1 - factor) - 0.2))
    opened = abs(_gap(edited, _INNER_LIPS) - _gap(pivot, _INNER_LIPS))
    width = float(np.linalg.norm(np.subtract(*pivot[list(_MOUTH_CORNERS)])))
    centre = result[[pair[k] for pair in _INNER_LIPS for k in (0, 1)]].mean(axis=0)
    across = float(np.linalg.norm(np.subtract(*result[list(_MOUTH_CORNERS)])))
    regions.append(_region(centre, (0.45 * across, 0.3 * across), 5 * opened / max(width, 1e-6) - 0.15))
    return result, tuple(one for one in regions if one.share > 0)


def _region(centre: Array, axes: tuple[float, float], share: float) -> Region:
    return Region((float(centre[0]), float(centre[1])), axes, float(np.clip(share, 0, 1)))


def _spread(points: Array) -> float:
    return float(np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean()))


def _gap(points: Array, pairs: tuple[tuple[int, int], ...]) -> float:
    return float(np.mean([np.linalg.norm(points[a] - points[b]) for a, b in pairs]))
