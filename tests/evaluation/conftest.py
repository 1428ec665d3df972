"""The face meter, loaded once."""

from __future__ import annotations

import pytest

from deltafast.evaluation.faces import FaceMeter


@pytest.fixture(scope="session")
def meter() -> FaceMeter:
    """The face meter; skips where the extra `evaluate` is not installed."""
    pytest.importorskip("dlib", reason="the extra `evaluate` (dlib-bin) is not installed")
    return FaceMeter()
