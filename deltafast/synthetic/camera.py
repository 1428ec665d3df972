"""A perspective camera whose crop follows FFHQ's alignment rule (Karras et al. 2019, appendix A)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deltafast.faces.framing import ffhq_square

__all__ = ["Camera", "ffhq_camera", "perspective"]

DISTANCE = 13.0  # decimetres from the lens to the middle of the eyes: a portrait taken from 1.3 m


@dataclass(frozen=True, eq=False)
class Camera:
    """Perspective from `target`'s front, then a similarity of the picture plane; y of pixels points down."""

    target: NDArray[np.float64]  # [3] point that the lens looks at, decimetres
    centre: NDArray[np.float64]  # [2] middle of the crop in the picture plane, decimetres
    axis: NDArray[np.float64]  # [2] the crop's horizontal half side in the picture plane, decimetres
    size: int  # pixels of a side

    @property
    def eye(self) -> NDArray[np.float64]:
        """Position of the lens `[3]`."""
        lens: NDArray[np.float64] = self.target + np.array([0.0, 0.0, DISTANCE])
        return lens

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (column, row, depth) `[V, 3]` of points `[V, 3]`; depth is in decimetres, smaller is nearer."""
        plane = perspective(points, self.target) - self.centre  # [V, 2]
        square = float(self.axis[0] ** 2 + self.axis[1] ** 2)
        across = (plane[:, 0] * self.axis[0] + plane[:, 1] * self.axis[1]) / square
        up = (plane[:, 1] * self.axis[0] - plane[:, 0] * self.axis[1]) / square
        depth = DISTANCE + 4.0 - (points[:, 2] - self.target[2])
        half = self.size / 2
        return np.stack([half + half * across, half - half * up, depth], 1)


def perspective(points: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Project points `[V, 3]` onto the plane through `target` that faces the lens: `[V, 2]`, y up, decimetres."""
    offset = points - target
    result: NDArray[np.float64] = offset[:, :2] * (DISTANCE / (DISTANCE - offset[:, 2:]))
    return result


def ffhq_camera(
    target: NDArray[np.float64],
    left_eye: NDArray[np.float64],
    right_eye: NDArray[np.float64],
    mouth: NDArray[np.float64],
    size: int,
) -> Camera:
    """Return the camera whose crop is the one FFHQ's alignment cuts from the picture (`faces.framing.ffhq_square`).

    `left_eye` and `right_eye` `[3]` are the head's own left and right (means of the points around each eye),
    `mouth` `[3]` the middle of the mouth's corners, `target` `[3]` what the lens looks at. Like the alignment,
    the crop turns with the eyes, so a head's roll does not show.
    """
    turned = np.array([1.0, -1.0])  # the picture plane's y points up, the framing's down
    on_left, on_right, lips = perspective(np.stack([left_eye, right_eye, mouth]), target) * turned
    centre, axis = ffhq_square((on_right, on_left), lips)
    return Camera(target, centre * turned, axis * turned, size)
