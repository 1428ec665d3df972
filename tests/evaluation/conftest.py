"""A reader of a tiny generator's pictures that takes everything for a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_faces import DrawnMeter

from deltafast.evaluation.feature_networks import FeatureNetwork
from deltafast.evaluation.readings import FaceReader
from deltafast.generators.base import Generator


def _coarse(image: np.ndarray) -> np.ndarray:
    step = image.shape[0] // 4
    return image[::step, ::step].reshape(-1).astype(np.float32) / 255  # [48]


@pytest.fixture
def coarse_network() -> FeatureNetwork:
    """Sixteen pixels for features."""
    return FeatureNetwork("sixteen pixels", "coarse", False, _coarse)


@pytest.fixture
def drawn_reader(tiny_generator: Generator, tmp_path: Path, coarse_network: FeatureNetwork) -> FaceReader:
    """A reader that needs no face detector."""
    return FaceReader(tiny_generator, DrawnMeter(), tmp_path / "readings", networks=[coarse_network])  # type: ignore[arg-type]
