"""Sequences and a trained editor, small enough to make in a second."""

from __future__ import annotations

import pytest
from sequences import make_sequences

from deltafast.delta import DeltaConfig, Editor, train_editor
from deltafast.sequence_latents import SequenceLatents


@pytest.fixture(scope="session")
def sequences() -> SequenceLatents:
    """Six identities, yaw and smile, five frames, W+ [6, 16]."""
    return make_sequences()


@pytest.fixture(scope="session")
def config() -> DeltaConfig:
    """A config that trains in a second, for three slots that are not neighbours."""
    return DeltaConfig(slots=(0, 2, 3), dim=4, width=16, steps=150, pairs=4, lr=1e-2, negative="scale")


@pytest.fixture(scope="session")
def editor(sequences: SequenceLatents, config: DeltaConfig) -> Editor:
    """A trained yaw editor."""
    return train_editor(sequences, "yaw", config)
