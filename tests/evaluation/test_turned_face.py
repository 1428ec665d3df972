"""A head is fitted to a face, whose own pixels turn as the head itself would; degrees are those that were measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deltafast.evaluation.head_fit import FittedHead, fit_head
from deltafast.evaluation.readings import FaceReader
from deltafast.evaluation.turn_floor import TURN_FLOOR, turn_floor
from deltafast.evaluation.turned_face import TurnableFace
from deltafast.faces.attributes import measure_attributes
from deltafast.faces.head_points import POINTS
from deltafast.faces.meter import FaceMeter
from deltafast.faces.pose import fit_pose, rotation
from deltafast.faces.true_degrees import (
    DEGREES_READ,
    DEGREES_READ_ON_HEADS,
    READ_UPRIGHT,
    true_angle,
    true_degrees,
)
from deltafast.files import read_json
from deltafast.generators.base import Generator
from deltafast.synthetic import HeadModel, random_identity, render_frame


def test_the_head_is_fitted_in_the_pose_of_the_landmarks() -> None:
    def fitted(yaw: float, pitch: float) -> FittedHead:
        return fit_head(90 * POINTS @ rotation(yaw, pitch)[:2].T + (256.0, 250.0))

    straight = fitted(0.0, 0.0)
    assert straight.error < 0.04
    assert straight.pose[0] == pytest.approx(0, abs=0.5)
    for yaw, pitch in ((12.0, 5.0), (-15.0, -6.0)):
        head = fitted(yaw, pitch)
        assert head.pose[0] == pytest.approx(yaw, abs=2)
        assert head.pose[1] - straight.pose[1] == pytest.approx(pitch, abs=2)
        assert head.error < 0.04


def test_unprojecting_undoes_projecting() -> None:
    head = fit_head(90 * POINTS[:, :2] + (256.0, 250.0))
    seen = head.project(head.vertices)
    np.testing.assert_allclose(head.unproject(seen[:, :2], seen[:, 2]), head.vertices, atol=1e-9)


@pytest.mark.slow
def test_a_face_turned_by_its_pixels_reads_like_the_head_turned_itself(meter: FaceMeter) -> None:
    model, identity = HeadModel(), random_identity([70, 0])

    def rendered(yaw: float) -> np.ndarray:
        return render_frame(identity, {"yaw": yaw}, model=model, size=320, supersampling=1)

    straight = rendered(0.0)
    face = meter.measure(straight)
    assert face is not None
    turnable = TurnableFace.of(straight, face.landmarks)
    unturned = meter.measure(turnable.turned(0.0))
    assert unturned is not None
    assert np.linalg.norm(unturned.descriptor - face.descriptor) < 0.15
    assert np.linalg.norm(unturned.landmarks - face.landmarks, axis=1).mean() < 3  # pixels of 320
    for yaw in (-15.0, 15.0):
        pixels, itself = (meter.measure(picture) for picture in (turnable.turned(yaw), rendered(yaw)))
        assert pixels is not None
        assert itself is not None
        assert fit_pose(pixels.landmarks).yaw == pytest.approx(fit_pose(itself.landmarks).yaw, abs=3.5)
    up = meter.measure(turnable.turned(pitch=12.0))
    assert up is not None
    assert fit_pose(up.landmarks).pitch - fit_pose(face.landmarks).pitch == pytest.approx(12, abs=5)


def test_the_factors_are_those_that_were_measured(repository_root: Path) -> None:
    found = read_json(repository_root / "benchmarks" / "results" / "turned_faces.json")
    for kind, readers in (("tuning", DEGREES_READ), ("head, turned", DEGREES_READ_ON_HEADS)):
        for reader, axes in readers.items():
            for axis, factor in axes.items():
                assert factor == pytest.approx(found["readers"][kind][reader][f"{axis}_gain"]["mean"], abs=6e-4)
                assert true_degrees(reader, axis, rendered=kind != "tuning") == 1 / factor
    for axis, floors in TURN_FLOOR.items():
        for degrees, floor in floors.items():
            assert floor == pytest.approx(found["floor"]["tuning"][axis][f"{degrees:g}"]["mean"], abs=6e-4)
    assert all(int(row["face"].split()[1]) >= 1000 for row in found["faces"] if row["kind"] == "tuning")


def test_degrees_begin_where_heads_that_look_at_the_camera_are_read(repository_root: Path) -> None:
    found = read_json(repository_root / "benchmarks" / "results" / "upright_heads.json")["readers"]
    for reader, axes in READ_UPRIGHT.items():
        for axis, read in axes.items():
            assert read == pytest.approx(found[reader][axis]["mean"], abs=6e-3)
            assert true_angle(reader, axis, read) == 0


def test_the_floor_grows_with_the_turn_and_is_none_for_what_is_no_turn() -> None:
    floor = [turn_floor("yaw", degrees) for degrees in (0.0, -5.0, 10.0, 15.0, 30.0, 50.0)]
    assert floor[0] == 0
    assert floor[1] == pytest.approx(TURN_FLOOR["yaw"][10.0] / 2)
    assert floor == sorted(floor)
    assert floor[-1] == floor[-2]
    assert turn_floor("smile", 1.0) == 0


def test_readings_are_in_true_degrees(drawn_reader: FaceReader, tiny_generator: Generator) -> None:
    latents = tiny_generator.w_avg.expand(1, tiny_generator.num_ws, -1)
    readings = drawn_reader.read(latents)
    image = np.zeros((512, 512, 3), np.uint8)  # its light is not looked at here
    raw = measure_attributes(image, readings.landmarks[0])
    for axis in ("yaw", "pitch"):
        expected = (raw[axis] - READ_UPRIGHT["dlib"][axis]) / DEGREES_READ["dlib"][axis]
        assert readings.measures[axis][0] == pytest.approx(expected, abs=1e-6)
        assert true_angle("dlib", axis, raw[axis]) == pytest.approx(expected, abs=1e-9)
    assert readings.measures["mouth_width"][0] == pytest.approx(raw["mouth_width"])
