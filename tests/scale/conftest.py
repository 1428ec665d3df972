"""Every test of this room needs the extra `scale`."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _scale() -> None:
    pytest.importorskip("pyarrow", reason="the extra `scale` (pyarrow, ray) is not installed")
