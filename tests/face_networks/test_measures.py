"""The differentiable measures: known heads give known changes, other things stay, and there is a gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deltafast.errors import DownloadError, InvalidInputError
from deltafast.face_networks.landmarks import load_face_landmarks
from deltafast.face_networks.measures import FACE_MEASURES, FaceMeasures
from deltafast.synthetic import HeadModel, render_frame, sequence_identities


@pytest.fixture(scope="module")
def measures() -> FaceMeasures:
    try:
        return FaceMeasures(load_face_landmarks())
    except DownloadError as error:
        pytest.skip(f"the landmark network cannot be fetched: {error}")


@pytest.fixture(scope="module")
def changes(measures: FaceMeasures) -> dict[str, dict[str, float]]:
    """How each attribute, set to a value, changes each measure of one rendered head."""
    model, identity = HeadModel(), sequence_identities(2)[0]
    asked = {"neutral": 0.0, "yaw": 20.0, "pitch": 15.0, "smile": 1.0, "eyes-closed": 1.0, "mouth-open": 1.0}
    asked |= {"brows-raised": 1.0, "light": 60.0, "light-elevation": 30.0, "gaze": 20.0}
    images = [
        render_frame(identity, {} if name == "neutral" else {name: value}, model=model) for name, value in asked.items()
    ]
    batch = torch.stack([torch.from_numpy(image).permute(2, 0, 1) / 127.5 - 1 for image in images])
    rows = measures(batch)
    return {
        name: dict(zip(FACE_MEASURES, (row - rows[0]).tolist(), strict=True))
        for name, row in zip(asked, rows, strict=True)
    }


def test_turning_a_head_by_known_angles_is_read_in_degrees(changes: dict[str, dict[str, float]]) -> None:
    assert abs(changes["yaw"]["yaw"]) == pytest.approx(20, rel=0.3)
    assert abs(changes["pitch"]["pitch"]) == pytest.approx(15, rel=0.35)
    assert abs(changes["yaw"]["pitch"]) < 4
    assert abs(changes["pitch"]["yaw"]) < 4


@pytest.mark.parametrize(
    ("attribute", "measure", "sign"),
    [
        ("smile", "mouth_width", 1),
        ("mouth-open", "mouth_opening", 1),
        ("eyes-closed", "eye_openness", -1),
        ("brows-raised", "brow_height", 1),
        ("light", "shading", 1),
        ("light-elevation", "vertical_shading", 1),
        ("gaze", "gaze", 1),
    ],
)
def test_each_attribute_moves_its_measure_most(
    changes: dict[str, dict[str, float]], attribute: str, measure: str, sign: int
) -> None:
    assert sign * changes[attribute][measure] > 0
    moved = {name: abs(changes[name][measure]) for name in changes if name not in ("yaw", "pitch", "neutral")}
    assert max(moved, key=lambda name: moved[name]) == attribute


def test_turning_the_head_hardly_counts_as_anything_else(changes: dict[str, dict[str, float]]) -> None:
    for measure, attribute in (("mouth_width", "smile"), ("eye_openness", "eyes-closed")):
        assert abs(changes["yaw"][measure]) < 0.5 * abs(changes[attribute][measure])


def test_gradient_is_the_slope(measures: FaceMeasures, faces: Tensor) -> None:
    images = faces.clone().requires_grad_()
    chosen = torch.tensor([1.0, 1.0, 1.0, 100.0, 100.0, 100.0, 100.0, 10.0, 10.0, 10.0])
    value = (measures(images) * chosen).sum()
    (gradient,) = torch.autograd.grad(value, images)
    step = 2e-3 * gradient / gradient.norm()
    with torch.no_grad():
        slope = ((measures(faces + step) - measures(faces - step)) * chosen).sum() / 2
    # the points at which brightness is read take no gradient, so the slope of the two shadings is not whole
    assert float(slope) == pytest.approx(2e-3 * float(gradient.norm()), rel=0.1)


def test_wrong_shapes_are_refused(measures: FaceMeasures) -> None:
    with pytest.raises(InvalidInputError, match="square images"):
        measures(torch.zeros(1, 3, 64, 32))
    with pytest.raises(InvalidInputError, match="at least 16"):
        measures(torch.zeros(1, 3, 8, 8))
