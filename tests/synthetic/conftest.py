"""Fixtures for the synthetic heads."""

from __future__ import annotations

import pytest

from deltafast.synthetic import HeadModel


@pytest.fixture(scope="session")
def model() -> HeadModel:
    """The packaged head, loaded once."""
    return HeadModel()
