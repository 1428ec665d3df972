"""How faithfully a photo is reconstructed: the one list of levels, from what is there at once to what takes minutes."""

from __future__ import annotations

from dataclasses import dataclass

from deltafast.projection import RefineConfig

__all__ = ["LEVELS", "Level"]

_CARRYING = 2  # steps of refinement that setting up a carried photo takes as long as


@dataclass(frozen=True)
class Level:
    """One way from a photo to a face: `name`, and the refinement it takes (None: none).

    `carries`: the photo itself is carried along the edits of the latent that is known by then.
    """

    name: str
    refine: RefineConfig | None = None
    carries: bool = False

    @property
    def steps(self) -> int:
        """How many steps it takes at most."""
        return _CARRYING if self.carries else 0 if self.refine is None else self.refine.steps


LEVELS: tuple[Level, ...] = (
    Level("quick"),
    Level("refined", RefineConfig(steps=50)),
    Level("tuned", carries=True),
)
"""In the order in which they are made; the first is shown at once, the others follow in the background."""
