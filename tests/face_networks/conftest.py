"""Fixtures for the networks that look at faces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from make_face_networks_golden import SEEDS, golden_faces
from torch import Tensor

from deltafast.generators.base import Generator


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """What the networks' own runtimes give for `faces`."""
    values: dict[str, Any] = json.loads(Path(__file__).with_name("face_networks_golden.json").read_text())
    assert values["seeds"] == list(SEEDS)
    return values


@pytest.fixture(scope="session")
def faces(mobilestylegan: Generator) -> Tensor:
    """Two sampled faces, `[2, 3, 256, 256]` in [-1, 1]: one laughs, one looks to the side."""
    return golden_faces(mobilestylegan) * 2 - 1
