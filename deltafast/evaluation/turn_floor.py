"""How much of an identity distance is the turn itself: the floor that no editor of the pose can go below.

dlib's descriptors of faces whose own pixels were turned by known angles on a fitted head, against themselves unturned
(`python -m benchmarks.turned_faces`, benchmarks/results/turned_faces.json): means over faces that no report shows.
"""

from __future__ import annotations

import numpy as np

__all__ = ["TURN_FLOOR", "turn_floor"]

# attribute -> true degrees turned -> the descriptors' distance; 0 at 0
TURN_FLOOR = {
    "yaw": {10.0: 0.182, 20.0: 0.281, 30.0: 0.369},
    "pitch": {10.0: 0.226, 20.0: 0.357},
}


def turn_floor(attribute: str, degrees: float) -> float:
    """Return the distance that a turn by `degrees` costs by itself; 0 for what is no turn.

    Linear between the measured turns, and constant beyond the largest, where it is too low rather than too high.
    """
    if attribute not in TURN_FLOOR:
        return 0.0
    known = {0.0: 0.0, **TURN_FLOOR[attribute]}
    return float(np.interp(abs(degrees), list(known), list(known.values())))
