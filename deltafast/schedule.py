"""The one schedule of learning rates: a short warming up, then half a cosine to 0."""

from __future__ import annotations

import math

__all__ = ["cosine_rate"]


def cosine_rate(step: int, steps: int, warm_up: int) -> float:
    """Return the factor, 0 to 1, on the peak rate in a step of 0 .. `steps` (beyond the last one it stays 0).

    Over the first `warm_up` steps it rises linearly; the cosine falls from the first step on.
    """
    warm = min(1.0, (step + 1) / warm_up)
    return warm * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
