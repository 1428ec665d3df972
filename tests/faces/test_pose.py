"""Head pose is right where it is known, and does not depend on where the face is in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from deltafast.errors import InvalidInputError
from deltafast.faces.head_points import POINTS, WEIGHTS
from deltafast.faces.landmarks import MIRRORED_LANDMARKS, mirrored_landmarks
from deltafast.faces.meter import FaceMeter
from deltafast.faces.pose import fit_pose, rotation, triangulate
from deltafast.synthetic import HeadModel, female, male, random_identity, render_frame


def seen(yaw: float, pitch: float, roll: float = 0.0, scale: float = 60.0) -> np.ndarray:
    """The landmarks of the calibrated head itself in a pose."""
    return scale * POINTS @ rotation(yaw, pitch, roll)[:2].T + (120.0, 140.0)


@pytest.mark.parametrize("pose", [(0, 0, 0), (25, -10, 4), (-40, 15, -8), (60, 0, 0)])
def test_the_pose_of_the_model_itself_is_found(pose: tuple[float, float, float]) -> None:
    fitted = fit_pose(seen(*pose))
    assert (fitted.yaw, fitted.pitch, fitted.roll) == pytest.approx(pose, abs=1e-3)


def test_moving_and_scaling_the_picture_changes_nothing() -> None:
    noisy = seen(18, 6) + np.random.default_rng(0).normal(0, 1.5, (68, 2))
    one, two = fit_pose(noisy), fit_pose(noisy * 7.3 - 400)
    assert (one.yaw, one.pitch, one.roll) == pytest.approx((two.yaw, two.pitch, two.roll), abs=1e-4)


def test_a_mirrored_face_has_the_opposite_yaw_and_roll() -> None:
    noisy = seen(22, 6, 3) + np.random.default_rng(1).normal(0, 1.5, (68, 2))
    one, two = fit_pose(noisy), fit_pose(mirrored_landmarks(noisy, 256))
    assert (two.yaw, two.pitch, two.roll) == pytest.approx((-one.yaw, one.pitch, -one.roll), abs=0.1)


def test_the_calibrated_head_is_symmetric_and_its_nose_nearest() -> None:
    np.testing.assert_allclose(POINTS[MIRRORED_LANDMARKS] * (-1, 1, 1), POINTS, atol=0.0021)
    assert POINTS[:, 2].argmax() in (29, 30)
    assert POINTS[36:48, 1].mean() < POINTS[30, 1] < POINTS[48:, 1].mean() < POINTS[8, 1]
    assert WEIGHTS.mean() == pytest.approx(1, abs=0.01)
    assert WEIGHTS.min() > 0


def test_triangulation_recovers_a_head_from_its_views() -> None:
    rng = np.random.default_rng(2)
    yaw, pitch = rng.uniform(-40, 40, 30), rng.uniform(-15, 15, 30)
    views = np.stack([seen(y, p, scale=rng.uniform(40, 80)) for y, p in zip(yaw, pitch, strict=True)])
    points, weights = triangulate(views, yaw, pitch, rounds=60)
    unit = np.linalg.norm(POINTS[36:42].mean(axis=0) - POINTS[42:48].mean(axis=0))
    centred = POINTS - np.average(POINTS, axis=0, weights=weights)
    np.testing.assert_allclose(points - np.average(points, axis=0, weights=weights), centred / unit, atol=0.01)


@pytest.mark.slow
def test_rendered_heads_of_known_pose_are_read_within_the_stated_error(meter: FaceMeter) -> None:
    model = HeadModel()
    heads = [female(), male(), random_identity([9, 1])]
    poses = [(-25.0, 0.0), (0.0, -10.0), (25.0, 8.0)]
    errors, slopes = [], []
    for head in heads:
        fitted = []
        for yaw, pitch in poses:
            values = {"yaw": yaw, "pitch": pitch}
            picture = render_frame(head, values, model=model, size=192, supersampling=1, align="neutral")
            face = meter.measure(picture)
            assert face is not None, (head.name, yaw, pitch)
            found = fit_pose(face.landmarks)
            fitted.append((found.yaw, found.pitch))
        errors.append(np.array(fitted) - poses)
        slopes.append(np.polyfit([yaw for yaw, _ in poses], [yaw for yaw, _ in fitted], 1)[0])
    rms = np.sqrt((np.array(errors) ** 2).mean(axis=(0, 1)))
    print(f"RMS error {rms[0]:.2f} degrees of yaw, {rms[1]:.2f} of pitch; slopes of yaw {np.round(slopes, 3)}")
    assert rms[0] < 4.0
    assert rms[1] < 5.0
    assert np.mean(slopes) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("landmarks", [np.zeros((5, 2)), np.full((68, 2), np.nan), np.ones((68, 2)), np.zeros((68, 3))])
def test_what_are_no_landmarks_is_refused(landmarks: np.ndarray) -> None:
    with pytest.raises(InvalidInputError, match="68 finite landmarks"):
        fit_pose(landmarks)
