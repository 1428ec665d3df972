"""Photos with faces, and the aligner, loaded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deltafast.faces.alignment import FaceAligner
from deltafast.files import read_image


@pytest.fixture(scope="session")
def aligner() -> FaceAligner:
    """The aligner; skips where the extra `photos` is not installed."""
    pytest.importorskip("dlib", reason="the extra `photos` (dlib-bin) is not installed")
    return FaceAligner()


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """scikit-image's portrait of Eileen Collins, 512 x 512, public domain."""
    data = pytest.importorskip("skimage.data")
    photo: NDArray[np.uint8] = data.astronaut()
    return photo


@pytest.fixture(scope="session")
def portraits(shared_dir: Path) -> list[NDArray[np.uint8]]:
    """24 portraits."""
    return [read_image(path) for path in sorted((shared_dir / "data" / "portraits").glob("*.jpg"))]
