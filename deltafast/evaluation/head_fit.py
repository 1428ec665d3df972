"""The head model fitted to the face of a picture: its shape, expression and pose, from 68 landmarks.

The rigid pose, a scale and a place are fitted together with some sixty shapes of the head model (linear displacements,
each drawn to zero by a prior), so that the model's vertices nearest to dlib's points project onto the landmarks. The
depth that the picture does not show comes from the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from deltafast.faces.head_points import POINTS, WEIGHTS
from deltafast.faces.pose import rotation
from deltafast.synthetic import HeadModel

__all__ = ["FittedHead", "fit_head", "head_model"]

Array = NDArray[np.float64]

_DISTANCE = 13.0  # decimetres from the lens to the middle of the eyes, as for rendered heads
_SHAPE_PRIOR, _UNIT_PRIOR = 0.35, 0.5  # standard deviations of the shapes' and the expressions' strengths
_NOISE = 0.02  # of a landmark, in inter-ocular distances
_TO_PICTURE = np.array([1.0, -1.0, 1.0])  # the model's y points up, a picture's down
_PAIRS = (  # one strength each; "*" stands for both sides; ends are incr:decr unless they are named
    *("head/head-fat", "head/head-scale-depth", "head/head-scale-horiz", "head/head-scale-vert"),
    *("forehead/forehead-temple", "eyebrows/eyebrows-angle:up:down", "eyebrows/eyebrows-trans:up:down"),
    *("eyes/*-eye-corner1:up:down", "eyes/*-eye-corner2:up:down", "eyes/*-eye-height2", "eyes/*-eye-scale"),
    *("eyes/*-eye-trans:in:out", "eyes/*-eye-trans:up:down", "nose/nose-point:up:down", "nose/nose-scale-depth"),
    *("nose/nose-scale-horiz", "nose/nose-scale-vert", "nose/nose-trans:up:down", "nose/nose-width1"),
    *("nose/nose-flaring", "mouth/mouth-scale-horiz", "mouth/mouth-trans:up:down", "mouth/mouth-upperlip-volume"),
    *("mouth/mouth-lowerlip-volume", "mouth/mouth-scale-depth", "chin/chin-height", "chin/chin-prominent"),
    *("chin/chin-width", "cheek/*-cheek-volume", "cheek/*-cheek-bones"),
)
_UNITS = (
    *("jawOpen", "mouthFunnel", "mouthPucker", "mouthLowerDown*", "mouthUpperUp*", "mouthSmile*", "mouthFrown*"),
    *("mouthStretch*", "browInnerUp", "browDown*", "browOuterUp*", "eyeBlink*", "eyeSquint*"),
    *("mouthLeft", "mouthRight"),
)
_MACROS = (("gender", "male-young-averagemuscle-averageweight", "female-young-averagemuscle-averageweight"),)


@dataclass(frozen=True)
class FittedHead:
    """A head in a picture: `vertices` `[V, 3]` are the head model's coarse ones, turned as the face is.

    In decimetres around the pivot of the neck, x to the viewer's right, y down, z towards the viewer. `project` puts
    points onto the picture. `pose`: yaw, pitch and roll in degrees, signs as in `faces.pose`; `error`: RMS distance
    between projected points and landmarks, in inter-ocular distances.
    """

    vertices: Array
    pose: tuple[float, float, float]
    scale: float  # pixels a decimetre at the depth of the eyes
    place: Array  # [2] pixels, where the middle of the eyes is
    eyes: Array  # [3] the middle of the eyes
    error: float

    def project(self, points: Array) -> Array:
        """Return (column, row, distance) `[N, 3]` in pixels and decimetres of points `[N, 3]`."""
        away = points - self.eyes
        nearer = _DISTANCE / (_DISTANCE - away[:, 2])  # [N]
        return np.column_stack([self.place + self.scale * nearer[:, None] * away[:, :2], _DISTANCE - away[:, 2]])

    def unproject(self, columns_rows: Array, distance: Array) -> Array:
        """Return the points `[N, 3]` that show at `columns_rows` `[N, 2]` and lie at `distance` `[N]`."""
        nearer = _DISTANCE / distance  # [N]
        flat = (columns_rows - self.place) / (self.scale * nearer[:, None])
        return np.column_stack([flat + self.eyes[:2], _DISTANCE - distance + self.eyes[2]])


def fit_head(landmarks: Array) -> FittedHead:
    """Fit the head model to landmarks `[68, 2]` in pixels, by weighted least squares with priors on the shapes."""
    basis = _basis()
    between = np.linalg.norm(landmarks[36:42].mean(axis=0) - landmarks[42:48].mean(axis=0))
    root = np.sqrt(WEIGHTS / WEIGHTS.mean())[:, None] / _NOISE  # [68, 1]
    seen_eyes = landmarks[36:48].mean(axis=0)
    first = between / basis.between

    def points_of(strengths: Array) -> Array:
        return basis.points + np.tensordot(strengths, basis.point_shapes, 1)  # [68, 3]

    def projected(guess: Array, points: Array) -> Array:
        turned = points @ rotation(*(guess[:3] * 50.0)).T
        away = turned - turned[36:48].mean(axis=0)
        nearer = _DISTANCE / (_DISTANCE - away[:, 2:])
        return np.asarray(seen_eyes + between * guess[4:6] + first * np.exp(guess[3]) * nearer * away[:, :2])

    def residual(guess: Array) -> Array:
        off = (projected(guess, points_of(guess[6:])) - landmarks) / between * root  # [68, 2]
        return np.concatenate([off.ravel(), guess[6:] / basis.priors])

    found = least_squares(residual, np.zeros(6 + len(basis.priors)), method="trf").x
    turn = rotation(*(found[:3] * 50.0))
    strengths = found[6:]
    vertices = (basis.vertices + np.tensordot(strengths, basis.shapes, 1)) @ turn.T  # [V, 3]
    points = points_of(strengths) @ turn.T
    error = np.linalg.norm(projected(found, points_of(strengths)) - landmarks, axis=1) / between
    yaw, pitch, roll = (float(angle) for angle in found[:3] * 50.0)
    return FittedHead(
        vertices,
        (yaw, pitch, roll),
        float(first * np.exp(found[3])),
        seen_eyes + between * found[4:6],
        points[36:48].mean(axis=0),
        float(np.sqrt((error**2).mean())),
    )


@dataclass(frozen=True)
class _Basis:
    """The mean head and its shapes, around the pivot of the neck, y down; the 68 points as linear maps of vertices."""

    vertices: Array  # [V, 3]
    shapes: Array  # [K, V, 3]
    points: Array  # [68, 3]
    point_shapes: Array  # [K, 68, 3]
    priors: Array  # [K]
    between: float  # of the eyes, decimetres


@lru_cache(maxsize=1)
def head_model() -> HeadModel:
    """Return the packaged head model, loaded once."""
    return HeadModel()


@lru_cache(maxsize=1)
def _basis() -> _Basis:
    model = head_model()
    named = dict(zip(model.asset.shape_names, model.asset.shapes, strict=True))
    shapes, priors = [], []
    for entry in _PAIRS:
        name, _, ends = entry.partition(":")
        up, down = ends.split(":") if ends else ("incr", "decr")
        sides = [name.replace("*", side) for side in ("l", "r")] if "*" in name else [name]
        shapes.append(sum((named[f"local/{one}-{up}"] - named[f"local/{one}-{down}"]) / 2 for one in sides))
        priors.append(_SHAPE_PRIOR)
    for unit in _UNITS:
        sides = [unit.replace("*", side) for side in ("Left", "Right")] if "*" in unit else [unit]
        shapes.append(sum(named[f"unit/{one}"] for one in sides))
        priors.append(_UNIT_PRIOR)
    for _, one, other in _MACROS:
        shapes.append((named[f"macro/{one}"] - named[f"macro/{other}"]) / 2)
        priors.append(1.0)
    pivot = model.asset.vertices[model.asset.neck_pivot].mean(axis=0)
    vertices = (model.asset.vertices - pivot) * _TO_PICTURE
    moved = np.stack(shapes) * _TO_PICTURE  # [K, V, 3]
    index, between = _points_on(model, (model.template - pivot) * _TO_PICTURE)
    rows = model.refinement.matrix[index]  # [68, V], sparse
    return _Basis(vertices, moved, rows @ vertices, np.stack([rows @ one for one in moved]), np.array(priors), between)


def _points_on(model: HeadModel, fine: Array) -> tuple[NDArray[np.intp], float]:
    """Return the refined vertex `[68]` at which each of dlib's points sits, and the distance between the eyes."""
    marks = model.landmarks(fine)
    eyes = [marks[f"{side}-eye"].mean(axis=0) for side in ("left", "right")]
    between = float(np.linalg.norm(eyes[0] - eyes[1]))
    middle = (eyes[0] + eyes[1]) / 2
    unit = np.linalg.norm(POINTS[36:42].mean(axis=0) - POINTS[42:48].mean(axis=0))
    wanted = (POINTS - POINTS[36:48].mean(axis=0)) * (between / unit) + middle
    skin = np.flatnonzero(model.skin & (model.masks["inside-mouth"] < 0.5))
    return np.array([skin[_nearest(fine[skin], point)] for point in wanted]), between


def _nearest(points: Array, place: Array) -> int:
    return int(((points - place) ** 2).sum(axis=1).argmin())
