"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent


def _shared_dir() -> Path | None:
    candidates = [os.environ.get("DELTAFAST_SHARED"), _ROOT.parent / "shared", _ROOT / "shared"]
    for candidate in candidates:
        if candidate and (Path(candidate) / "fixtures").is_dir():
            return Path(candidate)
    return None


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with original checkpoints, their golden outputs, and portraits; skips where it is absent."""
    found = _shared_dir()
    if found is None:
        pytest.skip("no folder with reference checkpoints: set DELTAFAST_SHARED or lay it beside the checkout")
    return found


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """The checkout's top folder."""
    return _ROOT
