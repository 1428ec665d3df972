"""A face's own pixels on a fitted head, shown again at a known turn: pictures whose degrees are true.

The head model is fitted to the face, every pixel gets the depth of the head behind it, and the picture, as a fine mesh,
is turned about the neck and drawn again, cropped as FFHQ's are. Hair and background around the head go on at the depth
of its outline and turn ever less towards the picture's border (as in face profiling: Zhu et al. 2016, arXiv
1511.07212). What a turn uncovers is stretched, so turns beyond about 25 to 30 degrees show it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from deltafast.evaluation.head_fit import FittedHead, fit_head, head_model
from deltafast.faces.framing import ffhq_square
from deltafast.faces.pose import rotation
from deltafast.synthetic.raster import interpolate, rasterise

__all__ = ["TurnableFace"]

Array = NDArray[np.float64]
Pixels = NDArray[np.uint8]

_STEP = 4  # pixels between two vertices of the picture's mesh
_MARGIN = 0.35  # of the side: how far the picture is continued beyond its border, by reflection
_STIFF, _FADE = 0.10, 0.22  # of the side: from the head's outline, where all still turns, and where nothing does
_SMOOTH = 2.0  # vertices: how far the depth is smoothed outside of the head


@dataclass(frozen=True)
class TurnableFace:
    """A picture uint8 `[S, S, 3]` as a mesh in depth: `points` `[N, 3]`, how much of a turn each makes, `share` `[N]`.

    `head`: the fitted head; `places` `[N, 2]`: column and row of each vertex in the `padded` picture.
    """

    head: FittedHead
    padded: Pixels
    places: Array
    points: Array
    share: Array
    triangles: NDArray[np.int64]
    size: int

    @classmethod
    def of(cls, image: Pixels, landmarks: Array) -> TurnableFace:
        """Fit the head to the face with `landmarks` `[68, 2]` and lay the picture, uint8 `[S, S, 3]`, on it."""
        size, margin = image.shape[0], round(_MARGIN * image.shape[0])
        head = fit_head(landmarks)
        padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
        side = padded.shape[0]
        distance, turning = _depth(head, margin, side)
        lines = np.append(np.arange(0, side - 1, _STEP), side - 1)
        rows, columns = np.meshgrid(lines, lines, indexing="ij")  # [n, n]
        inside = np.isfinite(distance[rows, columns])
        away, nearest = distance_transform_edt(~inside, return_indices=True)
        depth = distance[rows, columns][tuple(nearest)]
        smooth = gaussian_filter(depth, _SMOOTH, mode="nearest")
        depth = np.where(inside, depth, smooth)
        stiff, fade = (part * size / _STEP for part in (_STIFF, _FADE))
        falling = np.clip((away - stiff) / fade, 0, 1)
        share = turning[rows, columns][tuple(nearest)] * (1 - falling * falling * (3 - 2 * falling))
        places = np.column_stack([columns.ravel(), rows.ravel()]).astype(np.float64)
        points = head.unproject(places - margin, depth.ravel())
        n = len(lines)
        corner = (np.arange(n - 1)[:, None] * n + np.arange(n - 1)).ravel()
        triangles = np.concatenate(
            [np.stack([corner, corner + n, corner + 1], 1), np.stack([corner + 1, corner + n, corner + n + 1], 1)]
        )
        return cls(head, padded, places, points, share.ravel(), triangles, size)

    def turned(self, yaw: float = 0.0, pitch: float = 0.0) -> Pixels:
        """Return the picture uint8 `[S, S, 3]` with the head turned further by `yaw` or `pitch`, in degrees.

        Signs as in `faces.pose`: yaw > 0 to the viewer's right, pitch > 0 up. The crop is the one that FFHQ's alignment
        would cut.
        """
        moved = _turn(self.points, self.share, yaw, pitch)
        seen = self.head.project(moved)  # [N, 3]
        model = head_model()
        marks = model.landmarks(model.refinement(self.head.vertices) @ rotation(yaw, pitch).T)
        left, right, mouth = (
            self.head.project(marks[name])[:, :2].mean(axis=0) for name in ("right-eye", "left-eye", "mouth-corners")
        )
        centre, half = ffhq_square((left, right), mouth)
        axis = half / (self.size / 2) / (half @ half / (self.size / 2) ** 2)
        around = seen[:, :2] - centre  # the similarity that lays the square on the picture
        column = around @ axis + self.size / 2 - 0.5
        row = around @ np.array([-axis[1], axis[0]]) + self.size / 2 - 0.5
        drawn = rasterise(
            np.column_stack([column + 0.5, row + 0.5, seen[:, 2]]), self.triangles, self.size, self.size, cull=False
        )
        source = interpolate(self.places.astype(np.float32), self.triangles, drawn)  # [P, 2]
        result = np.zeros((self.size * self.size, 3), np.float64)
        for channel in range(3):
            result[drawn.pixel, channel] = map_coordinates(
                self.padded[:, :, channel].astype(np.float32), source.T[::-1], order=1, mode="nearest"
            )
        return (result.reshape(self.size, self.size, 3) + 0.5).clip(0, 255).astype(np.uint8)


def _turn(points: Array, share: Array, yaw: float, pitch: float) -> Array:
    """Turn points `[N, 3]` about the neck's pivot, which is their origin, each by its `share` `[N]` of the angles."""
    x, y, z = points.T
    tilt, turn = np.radians(pitch * share), np.radians(yaw * share)
    y, z = y * np.cos(tilt) - z * np.sin(tilt), y * np.sin(tilt) + z * np.cos(tilt)
    x, z = x * np.cos(turn) + z * np.sin(turn), z * np.cos(turn) - x * np.sin(turn)
    return np.column_stack([x, y, z])


def _depth(head: FittedHead, margin: int, side: int) -> tuple[Array, Array]:
    """Return the head's distance `[side, side]`, infinite beside it, and the share of a turn that it makes there."""
    model = head_model()
    seen = head.project(model.refinement(head.vertices))  # [V', 3]
    seen[:, :2] += margin + 0.5
    drawn = rasterise(seen, model.solid(), side, side)
    share = np.zeros(side * side)
    neck = model.refinement(model.asset.neck_weight[:, None]).astype(np.float32)  # [V', 1]
    share[drawn.pixel] = interpolate(neck, model.solid(), drawn)[:, 0]
    return drawn.depth.reshape(side, side), share.reshape(side, side)
