"""A small generator and two editors for it, shared by the tests of editing."""

from __future__ import annotations

from typing import Any

import pytest
from matrix_generator import MatrixGenerator, train

from deltafast.delta import Editor


@pytest.fixture
def generator() -> Any:
    """A generator of 4 x 4 images."""
    return MatrixGenerator()


@pytest.fixture(scope="session")
def yaw() -> Editor:
    """An editor of slots 0 to 2."""
    return train("yaw", (0, 1, 2), MatrixGenerator())


@pytest.fixture(scope="session")
def smile() -> Editor:
    """An editor of slots 2 and 3."""
    return train("smile", (2, 3), MatrixGenerator())
