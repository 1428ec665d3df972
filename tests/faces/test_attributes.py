"""The measures read what they say: known numbers, invariances, and the rendered heads' own attributes."""

from __future__ import annotations

import numpy as np
import pytest

from deltafast.faces.attributes import (
    MEASURES,
    TARGET_MEASURES,
    attribute_table,
    brow_height,
    eye_openness,
    mouth_opening,
    mouth_width,
    shading,
    vertical_shading,
)
from deltafast.faces.head_points import POINTS
from deltafast.faces.landmarks import mirrored_landmarks
from deltafast.faces.meter import FaceMeter
from deltafast.faces.pose import Pose, rotation
from deltafast.synthetic import HeadModel, female, male, render_frame

LANDMARKS = POINTS[:, :2] * 60 + (128.0, 128.0)  # a frontal face of 256 pixels
SIZE = 256


def lit(left: int, right: int) -> np.ndarray:
    """A picture with one grey to the left of the middle and another to the right."""
    image = np.full((SIZE, SIZE, 3), left, dtype=np.uint8)
    image[:, SIZE // 2 :] = right
    return image


def test_mouth_and_eyes_of_a_drawn_face_have_the_drawn_sizes() -> None:
    face = np.zeros((68, 2))
    face[0], face[16] = (0, 0), (100, 0)
    face[48], face[54] = (30, 50), (70, 50)
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        face[upper], face[lower] = (50, 45), (50, 55)
    for eye in (36, 42):
        face[eye : eye + 6] = [(0, 0), (6, -3), (14, -3), (20, 0), (14, 3), (6, 3)]
    assert mouth_width(face) == pytest.approx(0.4)
    assert mouth_opening(face) == pytest.approx(0.1)
    assert eye_openness(face) == pytest.approx(0.3)


@pytest.mark.parametrize("measure", [mouth_width, mouth_opening, eye_openness, brow_height])
def test_moved_scaled_and_mirrored_landmarks_measure_the_same(measure) -> None:  # type: ignore[no-untyped-def]
    expected = measure(LANDMARKS)
    assert measure(LANDMARKS * 3.7 + (-50, 20)) == pytest.approx(expected)
    assert measure(mirrored_landmarks(LANDMARKS, SIZE)) == pytest.approx(expected)


def test_shading_is_the_ratio_of_linear_light_and_turns_with_the_mirror() -> None:
    # sRGB 188 is 0.5029 of linear light, 137 is 0.2502: a ratio of 2.01
    image = lit(137, 188)
    assert shading(image, LANDMARKS) == pytest.approx(np.log(0.5029 / 0.2502), abs=2e-3)
    mirrored = np.ascontiguousarray(image[:, ::-1])
    assert shading(mirrored, mirrored_landmarks(LANDMARKS, SIZE)) == pytest.approx(-shading(image, LANDMARKS), abs=1e-6)
    assert shading(lit(90, 90), LANDMARKS) == pytest.approx(0)


def test_shading_of_a_cheek_outside_the_picture_is_nan() -> None:
    assert np.isnan(shading(lit(100, 100), LANDMARKS + np.array([400, 0])))
    assert np.isnan(shading(lit(100, 100), LANDMARKS - np.array([400, 0])))


def test_vertical_shading_is_the_ratio_of_linear_light_above_and_below() -> None:
    image = np.full((SIZE, SIZE, 3), 137, dtype=np.uint8)
    image[: int(LANDMARKS[48:60, 1].min()) - 2] = 188  # all above the lips
    assert vertical_shading(image, LANDMARKS) == pytest.approx(np.log(0.5029 / 0.2502), abs=2e-3)
    assert vertical_shading(lit(90, 90), LANDMARKS) == pytest.approx(0)
    assert vertical_shading(lit(90, 180), LANDMARKS) == pytest.approx(0, abs=0.02)  # light from the side
    assert np.isnan(vertical_shading(lit(100, 100), LANDMARKS + np.array([400, 0])))


@pytest.mark.parametrize("pose", [Pose(0, 0, 0), Pose(30, 0, 0), Pose(-20, 12, 5), Pose(0, -15, 0)])
def test_raised_brows_are_measured_on_the_head_in_any_pose(pose: Pose) -> None:
    def height(lift: float, known: Pose | None) -> float:
        head = POINTS.copy()
        head[17:27, 1] -= lift  # y points down
        return brow_height(60 * head @ rotation(pose.yaw, pose.pitch, pose.roll)[:2].T + 100.0, known)

    corners = [POINTS[index].mean(axis=0) for index in ([36, 39], [42, 45])]
    between = np.linalg.norm(corners[0][:2] - corners[1][:2])
    expected = (np.mean([corner[1] for corner in corners]) - POINTS[17:27, 1].mean()) / between
    assert height(0.0, pose) == pytest.approx(expected, abs=1e-6)
    assert height(0.0, None) == pytest.approx(expected, abs=1e-3)
    # the middle and the scale that the landmarks are compared by move a little with the brows
    assert height(0.1, pose) - height(0.0, pose) == pytest.approx(0.1 / between, rel=0.1)
    assert height(0.1, None) - height(0.0, None) == pytest.approx(0.1 / between, rel=0.25)


def test_every_target_is_a_measure() -> None:
    assert {name for name, _ in TARGET_MEASURES.values()} <= set(MEASURES)


@pytest.mark.slow
def test_each_attribute_of_a_rendered_head_moves_its_measure_the_right_way(meter: FaceMeter) -> None:
    model, head = HeadModel(), female()
    ends = {"yaw": (-20, 20), "pitch": (-12, 12), "smile": (0, 1), "eyes-closed": (0, 1), "light": (-60, 60)}
    ends |= {"mouth-open": (0, 1), "brows-raised": (-1, 1), "light-elevation": (-40, 40)}
    assert ends.keys() == TARGET_MEASURES.keys()
    for attribute, values in ends.items():
        images = [render_frame(head, {attribute: float(v)}, model=model, size=192, supersampling=1) for v in values]
        table = attribute_table(images, meter.measure_batch(images))
        name, sign = TARGET_MEASURES[attribute]
        assert (np.diff(sign * table[name]) > 0).all(), (attribute, table[name])


@pytest.mark.slow
def test_brow_height_follows_the_brows_of_rendered_heads_and_not_their_pose(meter: FaceMeter) -> None:
    model = HeadModel()
    for head in (female(), male()):
        pupils = model.refinement(model.shape(head))[
            [int(np.argmin(((model.template[:, :2] - p) ** 2).sum(1))) for p in model.pupils]
        ]
        between = float(np.linalg.norm(pupils[0] - pupils[1]))
        cases = [{"brows-raised": v} for v in (-1.0, -0.5, 0.0, 1.0)] + [{"yaw": v} for v in (-25.0, 25.0)]
        cases += [{"pitch": v} for v in (-12.0, 12.0)]
        images = [render_frame(head, values, model=model, supersampling=1) for values in cases]
        height = attribute_table(images, meter.measure_batch(images))["brow_height"]
        assert height[2] - height[0] == pytest.approx(0.05 / between, rel=0.35)  # lowered by half a centimetre
        assert height[0] < height[1] < height[2] < height[3] + 0.01
        np.testing.assert_allclose(height[4:], height[2], atol=0.03)


@pytest.mark.slow
def test_vertical_shading_follows_the_height_of_the_light_and_little_else(meter: FaceMeter) -> None:
    model = HeadModel()
    cases = [{"light-elevation": v} for v in (-45.0, -20.0, 0.0, 20.0, 45.0)]
    cases += [{"yaw": 25.0}, {"pitch": 12.0}, {"smile": 1.0}, {"mouth-open": 1.0}, {"brows-raised": 1.0}]
    images = [render_frame(male(), values, model=model, size=192, supersampling=1) for values in cases]
    measured = attribute_table(images, meter.measure_batch(images))["vertical_shading"]
    assert (np.diff(measured[:5]) > 0.03).all()
    assert measured[4] - measured[0] > 0.35
    np.testing.assert_allclose(measured[5:], measured[2], atol=0.1)


def test_no_face_gives_rows_of_nan() -> None:
    table = attribute_table([lit(9, 9)], [None])
    assert set(table) == set(MEASURES)
    assert all(np.isnan(values).all() and values.shape == (1,) for values in table.values())
