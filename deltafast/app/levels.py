"""How faithfully a photo is reconstructed: the one list of levels, from what is there at once to what takes minutes."""

from __future__ import annotations

from dataclasses import dataclass

from deltafast.projection import RefineConfig

__all__ = ["LEVELS", "Level"]


@dataclass(frozen=True)
class Level:
    """One way from a photo to a latent: `name`, what it says to people, and the refinement it takes (None: none)."""

    name: str
    said: str
    refine: RefineConfig | None = None

    @property
    def steps(self) -> int:
        """How many steps it takes at most."""
        return 0 if self.refine is None else self.refine.steps


LEVELS: tuple[Level, ...] = (
    Level("quick", "the encoder's answer"),
    Level("refined", "refined in W+", RefineConfig(steps=50)),
)
"""In the order in which they are made; the first is shown at once, the others follow in the background."""
