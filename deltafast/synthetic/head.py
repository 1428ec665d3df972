"""The head model: identity and expression to a smooth mesh."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import InvalidInputError
from deltafast.synthetic.asset import MASKS, PARTS, load_asset
from deltafast.synthetic.identity import Identity
from deltafast.synthetic.posing import turn
from deltafast.synthetic.subdivision import catmull_clark
from deltafast.synthetic.units import own_units

__all__ = ["LANDMARKS", "HeadModel"]

Float = NDArray[np.float64]

_LEFT_EYE = ((0.188, 7.268), (0.270, 7.326), (0.352, 7.326), (0.430, 7.287), (0.360, 7.243), (0.272, 7.241))
_POINTS: dict[str, tuple[tuple[float, float], ...]] = {
    "left-eye": _LEFT_EYE,
    "right-eye": tuple((-x, y) for x, y in _LEFT_EYE),
    "mouth-corners": ((0.243, 6.61), (-0.243, 6.61)),
    "lips": ((0.0, 6.71), (0.0, 6.495)),
    "nose-tip": ((0.0, 6.94),),
    "chin": ((0.0, 6.17),),
}

LANDMARKS = tuple(_POINTS)
"""Names of the points that `HeadModel.landmarks` finds; `left-eye` and `right-eye` are six points around the lids
(corner near the nose, upper lid twice, outer corner, lower lid twice), `lips` the middle above and below."""


class HeadModel:
    """A head whose identity, expression and pose are parameters; lengths are decimetres, y up, z to the front."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        """Load the baked asset at `path`, or the packaged one. Raises `InvalidInputError` when it is damaged."""
        self.asset = load_asset(path)
        self.refinement = catmull_clark(len(self.asset.vertices), self.asset.faces, self.asset.face_uv)
        self._shapes = dict(zip(self.asset.shape_names, self.asset.shapes, strict=True)) | own_units(self.asset)
        part = np.tile(self.asset.face_part, 4)  # [4F]
        quads = self.refinement.faces
        self.triangles: NDArray[np.int64] = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])  # [T, 3]
        self.triangle_part: NDArray[np.int64] = np.tile(part, 2)  # [T]
        self.template = self.refinement(self.asset.vertices)  # [V', 3]
        skin = np.zeros(len(self.template), bool)
        skin[quads[part == 0].ravel()] = True
        self.skin = skin  # [V']
        side = self.asset.masks.shape[1]
        u, v = self.refinement.uv.T
        column = np.clip((u * side).astype(np.int64), 0, side - 1)
        row = np.clip(((1 - v) * side).astype(np.int64), 0, side - 1)
        masks = self.asset.masks[:, row, column].astype(np.float32) / np.float32(255)
        self.masks: dict[str, NDArray[np.float32]] = {  # [V'] each
            name: masks[k] * skin for k, name in enumerate(MASKS)
        }
        lashes = np.unique(self.triangles[self.triangle_part >= PARTS.index("lower-lashes")])
        lids = np.flatnonzero(skin & (np.abs(self.template[:, 1] - 7.28) < 0.2) & (self.template[:, 2] > 1.2))
        offset = self.template[lashes, None] - self.template[None, lids]
        self.lash_length = np.zeros(len(self.template), np.float32)  # [V'] decimetres from the lid
        self.lash_length[lashes] = np.sqrt((offset**2).sum(2).min(1))
        if len(self.asset.occlusion) != len(self.template):
            raise InvalidInputError(
                f"head asset: {len(self.asset.occlusion)} occlusion values for {len(self.template)} vertices"
            )

    @cached_property
    def pupils(self) -> Float:
        """Places of the left and right pupil on the template, x and y `[2, 2]`: the foremost points of the eyes."""
        centres = []
        for name in ("left-eye", "right-eye"):
            used = np.unique(self.triangles[self.triangle_part == PARTS.index(name)])
            low, high = self.template[used].min(0), self.template[used].max(0)
            centres.append((low[:2] + high[:2]) / 2)
        places: Float = np.stack(centres)
        return places

    def solid(self) -> NDArray[np.int64]:
        """Return the triangles `[T, 3]` that hide and cast shadows: all parts but the lashes."""
        hiding: NDArray[np.int64] = self.triangles[self.triangle_part < PARTS.index("lower-lashes")]
        return hiding

    def shape(self, identity: Identity, units: Mapping[str, float] | None = None) -> Float:
        """Return coarse vertices `[V, 3]` of an identity with face units at the given strengths, facing forward.

        Raises `InvalidInputError` for an unknown shape.
        """
        weights = {f"macro/{name}": value for name, value in identity.macro_weights().items()}
        weights.update({f"local/{name}": value for name, value in identity.local})
        for name, value in {**dict(identity.resting)}.items():
            weights[f"unit/{name}"] = value
        for name, value in (units or {}).items():
            weights[f"unit/{name}"] = weights.get(f"unit/{name}", 0.0) + value
        vertices: Float = self.asset.vertices.copy()
        for name in sorted(weights):
            if name not in self._shapes:
                raise InvalidInputError(f"the head has no shape {name!r}; see HeadModel().asset.shape_names")
            if weights[name]:
                vertices += weights[name] * self._shapes[name]
        return vertices

    def pose(self, vertices: Float, *, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Float:
        """Turn coarse vertices `[V, 3]` on the neck; angles in degrees, signs as in `posing.turn`."""
        pivot = vertices[self.asset.neck_pivot].mean(0)
        return turn(vertices, self.asset.neck_weight, pivot, yaw=yaw, pitch=pitch, roll=roll)

    def look(self, vertices: Float, gaze: float) -> Float:
        """Return coarse vertices `[V, 3]` whose eyeballs are turned by `gaze` degrees, > 0 to the viewer's right."""
        looking: Float = vertices.copy()
        for ball in self._eyeballs:
            low, high = vertices[ball].min(0), vertices[ball].max(0)
            centre = (low + high) / 2
            centre[2] = low[2] + (high[0] - low[0]) / 2  # the cornea stands out of the ball
            looking[ball] = turn(vertices[ball], np.ones(len(ball)), centre, yaw=gaze)
        return looking

    @cached_property
    def _eyeballs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The coarse vertices of the left and of the right eyeball."""
        left, right = (
            np.unique(self.asset.faces[self.asset.face_part == PARTS.index(name)]) for name in ("left-eye", "right-eye")
        )
        return left, right

    def landmarks(self, fine: Float) -> dict[str, Float]:
        """Return the named points `[n, 3]` of refined vertices `[V', 3]`."""
        return {name: fine[index] for name, index in self._landmark_index.items()}

    @cached_property
    def _landmark_index(self) -> dict[str, NDArray[np.int64]]:
        # places found by dlib's 68 points on renders of both heads, carried back to the template
        front = np.flatnonzero(self.skin & (self.template[:, 2] > 1.0) & (self.masks["inside-mouth"] < 0.5))
        index = {}
        for name, points in _POINTS.items():
            offset = self.template[front, None, :2] - np.array(points)  # [S, n, 2]
            distance = (offset**2).sum(2) - 1e-4 * self.template[front, None, 2]
            index[name] = front[distance.argmin(0)]
        return index
