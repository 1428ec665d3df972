"""What the synthetic sequence says is what the rendered heads, whose values are known, are measured to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deltafast.evaluation.synthetic_reference import render_reference
from deltafast.faces.meter import FaceMeter


@pytest.mark.slow
def test_heads_of_known_yaw_are_read_to_turn_that_far(meter: FaceMeter, tmp_path: Path) -> None:
    reference = render_reference("yaw", (-35.0, 0.0, 35.0), meter, tmp_path)
    assert reference is not None
    assert reference.unit == "degree"
    assert reference.change.shape == (2, 3)
    np.testing.assert_array_equal(reference.change[:, 1], 0)
    assert [reference.requested(value) for value in (-35.0, 10.5, 35.0)] == [-35, 10.5, 35]  # known, not read
    assert reference.read(35) == pytest.approx(35, abs=5)
    assert reference.read(-35) == pytest.approx(-35, abs=5)
    assert reference.read(17.5) == pytest.approx(reference.read(35) / 2)  # between frames: linear
    assert all(path.is_file() for row in reference.frames for path in row)


def test_only_what_is_rendered_has_a_reference(tmp_path: Path) -> None:
    for attribute, values in (("hat", (0.0, 0.5, 1.0)), ("yaw", (-35.0, 35.0)), ("yaw", (-10.0, 0.0, 10.0))):
        assert render_reference(attribute, values, None, tmp_path) is None  # type: ignore[arg-type]
