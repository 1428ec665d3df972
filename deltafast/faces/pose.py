"""Head pose from 68 landmarks: a rigid head of 3-D points under weak perspective.

The points (head_points.py) are triangulated from dlib's own landmarks on rendered heads of known pose, so they sit
where that predictor puts them, and each is weighted by how little it varies with identity and expression.

Axes: x to the viewer's right, y down, z towards the viewer. A head of yaw and pitch is turned by Ry(yaw) Rx(pitch):
yaw > 0 turns it towards the viewer's right, pitch > 0 looks up; roll > 0 turns the picture clockwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from deltafast.errors import InvalidInputError
from deltafast.faces.head_points import POINTS, WEIGHTS
from deltafast.faces.landmarks import MIRRORED_LANDMARKS

__all__ = ["Pose", "fit_pose", "rotation", "triangulate", "unprojected"]

Array = NDArray[np.float64]

_LEFT_EYE, _RIGHT_EYE = slice(36, 42), slice(42, 48)  # as the viewer sees them
_NOISE = 0.02  # of a landmark, in inter-ocular distances: no weight exceeds 1 / _NOISE²


@dataclass(frozen=True)
class Pose:
    """Head pose in degrees: yaw > 0 towards the viewer's right, pitch > 0 up, roll > 0 clockwise."""

    yaw: float
    pitch: float
    roll: float


def rotation(yaw: float, pitch: float, roll: float = 0.0) -> Array:
    """Return the rotation `[3, 3]` of a head, Rz(roll) Ry(yaw) Rx(pitch), for angles in degrees."""
    y, p, r = np.radians([yaw, pitch, roll])
    around_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    around_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    around_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turned: Array = around_z @ around_y @ around_x
    return turned


def fit_pose(landmarks: Array, *, head: Array = POINTS, weights: Array = WEIGHTS) -> Pose:
    """Fit pose, scale and position of the rigid head to landmarks `[68, 2]` in pixels, by weighted least squares.

    `head` `[68, 3]` and `weights` `[68]` are what `triangulate` returns; by default the calibrated ones.

    Raises `InvalidInputError` for another shape, NaN, or points that all coincide.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != (68, 2) or not np.isfinite(points).all() or np.ptp(points, axis=0).min() <= 0:
        raise InvalidInputError(f"a pose is fitted to 68 finite landmarks [68, 2], got {list(points.shape)}")
    root = np.sqrt(weights)[:, None]  # [68, 1]
    points = points - np.average(points, axis=0, weights=weights)  # [68, 2]
    points /= np.sqrt((points**2).mean()) / np.sqrt((head[:, :2] ** 2).mean())

    def residual(guess: Array) -> Array:
        projected = np.exp(guess[3]) * head @ rotation(*(guess[:3] * 50.0))[:2].T + guess[4:6]  # [68, 2]
        return np.asarray((projected - points) * root).ravel()

    angles = least_squares(residual, np.zeros(6), method="lm").x[:3] * 50.0
    return Pose(*(float(angle) for angle in angles))


def unprojected(landmarks: Array, pose: Pose) -> Array:
    """Return where landmarks `[68, 2]` of a head in `pose` sit on the head as seen from its front, `[68, 2]`.

    Each landmark is taken to lie at the depth of the mean head's. x to the viewer's right, y down, in inter-ocular
    distances of the mean head, from its weighted middle.
    """
    camera = rotation(pose.yaw, pose.pitch, pose.roll)[:2]  # [2, 3]
    share = WEIGHTS[:, None] / WEIGHTS.sum()  # [68, 1]
    head = POINTS - (share * POINTS).sum(axis=0)  # [68, 3]
    seen = landmarks - (share * landmarks).sum(axis=0)  # [68, 2]
    shown = head @ camera.T  # [68, 2]
    scale = (share * shown * seen).sum() / (share * shown**2).sum()
    flat: Array = (seen / scale - head[:, 2:] * camera[:, 2]) @ np.linalg.inv(camera[:, :2]).T  # [68, 2]
    return flat


def triangulate(landmarks: Array, yaw: Array, pitch: Array, *, rounds: int = 12) -> tuple[Array, Array]:
    """Find the rigid head that best explains landmarks of heads in known poses.

    `landmarks` `[N, 68, 2]` in pixels (y down), `yaw` and `pitch` `[N]` in degrees. Alternates between the points
    given every image's scale and position, and these given the points; the head is kept symmetric. Returns points
    `[68, 3]` in inter-ocular distances, and weights `[68]` of mean 1: inverse variances of what remains.
    """
    cameras = np.stack([rotation(y, p)[:2] for y, p in zip(yaw, pitch, strict=True)])  # [N, 2, 3]
    eyes = landmarks[:, _LEFT_EYE].mean(axis=1) - landmarks[:, _RIGHT_EYE].mean(axis=1)  # [N, 2]
    scale = np.linalg.norm(eyes, axis=1) / np.maximum(np.cos(np.radians(yaw)), 0.5)  # [N]
    position = landmarks.mean(axis=1)  # [N, 2]
    normal = np.linalg.inv(np.einsum("nij,nik->jk", cameras, cameras))  # [3, 3]
    weights = np.ones(68)
    points = np.zeros((68, 3))
    for _ in range(rounds):
        seen = (landmarks - position[:, None]) / scale[:, None, None]  # [N, 68, 2]
        points = np.einsum("nij,npi->pj", cameras, seen) @ normal  # [68, 3]
        points = (points + points[MIRRORED_LANDMARKS] * (-1, 1, 1)) / 2
        points -= np.average(points, axis=0, weights=weights)
        points /= np.linalg.norm(points[_LEFT_EYE].mean(axis=0) - points[_RIGHT_EYE].mean(axis=0))
        shown = np.einsum("nij,pj->npi", cameras, points)  # [N, 68, 2]
        share = weights[:, None] / weights.sum()  # [68, 1]
        shown_mean, seen_mean = (shown * share).sum(axis=1), (landmarks * share).sum(axis=1)  # [N, 2]
        shown_free, seen_free = shown - shown_mean[:, None], landmarks - seen_mean[:, None]  # [N, 68, 2]
        scale = (shown_free * seen_free * share).sum(axis=(1, 2)) / (shown_free**2 * share).sum(axis=(1, 2))
        position = seen_mean - scale[:, None] * shown_mean
        remaining = (landmarks - position[:, None]) / scale[:, None, None] - shown  # [N, 68, 2]
        variance = (remaining**2).sum(axis=2).mean(axis=0)  # [68]
        weights = 1.0 / ((variance + variance[MIRRORED_LANDMARKS]) / 2 + _NOISE**2)
        weights /= weights.mean()
    return points, weights
