"""Face units of our own, for what the asset's units do not do well; heights and depths are those of the template."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deltafast.synthetic.asset import PARTS, HeadAsset
from deltafast.synthetic.colour import step
from deltafast.synthetic.raster import vertex_normals

__all__ = ["own_units"]

Float = NDArray[np.float64]

_BROW_LIFT = 0.05  # decimetres
_TEETH_DROP = np.array([0.0, -0.05, 0.0])  # decimetres, of the upper teeth when the mouth is open
_TONGUE_REST = np.array([0.0, -0.07, -0.03])  # the tongue on the floor of the mouth, not pressed to the palate


def own_units(asset: HeadAsset) -> dict[str, Float]:
    """Return displacements `[V, 3]` in decimetres of the units that a head has beside those of its asset.

    `unit/browRaise` slides both brows up along the forehead. (The asset's browInnerUp and browOuterUp squeeze the
    skin right above the brow, which thins the brow drawn there.) `unit/mouthInside` lays the tongue down and shows
    the upper teeth in a mouth opened by jawOpen, whose tongue fills it to the palate.
    """
    return {"unit/browRaise": _brow_raise(asset), "unit/mouthInside": _mouth_inside(asset)}


def _brow_raise(asset: HeadAsset) -> Float:
    x, y, z = asset.vertices.T
    skin = np.zeros(len(asset.vertices), bool)
    skin[asset.faces[asset.face_part == PARTS.index("skin")].ravel()] = True
    crease = 7.29 + 0.04 * step(0.12, 0.25, np.abs(x))  # lower beside the bridge of the nose than above the lid
    rising = np.clip((y - crease) / 0.10, 0, 1)
    upwards = rising * rising * (3 - 2 * rising) * step(8.25, 7.58, y)
    share = upwards * step(0.80, 0.50, np.abs(x)) * step(0.6, 1.0, z) * skin  # [V]
    triangles = np.concatenate([asset.faces[:, [0, 1, 2]], asset.faces[:, [0, 2, 3]]])
    normal = vertex_normals(asset.vertices, triangles)  # [V, 3]
    along = np.array([0.0, 1.0, 0.0]) - normal * normal[:, 1:2]  # up, within the skin
    lift: Float = _BROW_LIFT * share[:, None] * along
    return lift


def _mouth_inside(asset: HeadAsset) -> Float:
    move = np.zeros_like(asset.vertices)
    for part, offset in (("upper-teeth", _TEETH_DROP), ("tongue", _TONGUE_REST)):
        move[np.unique(asset.faces[asset.face_part == PARTS.index(part)])] = offset
    return move
