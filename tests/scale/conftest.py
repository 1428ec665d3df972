"""Every test of this room needs pyarrow; those in test_ray.py need Ray as well (`make scale`)."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _scale() -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
