"""At which changes methods are compared: the same for every editor, every method and every version.

Turns are compared at round degrees. Every other attribute is compared at what the first published editors did at
alpha = 1 on 200 sampled faces (half of what changed from alpha = -1 to 1, the report of commit eeea9c0de054), and at
half of that. A reading is as good as its noise: `READING_DEVIATION` is that of one reading of a face
(`python -m benchmarks.repeated_readings`, benchmarks/results/repeated_readings.json).
"""

from __future__ import annotations

from deltafast.faces.attributes import TARGET_MEASURES

__all__ = ["CHANGE_AT_ONE", "MATCHED_CHANGES", "READING_DEVIATION", "near_enough"]

# attribute -> the change of its measure that plain directions are scaled to at alpha = 1, in the measure's unit
CHANGE_AT_ONE = {
    "yaw": 10.0,
    "pitch": 10.0,
    "smile": 0.064,
    "eyes-closed": 0.168,
    "mouth-open": 0.056,
    "brows-raised": 0.049,
    "light": 0.85,
    "light-elevation": 0.43,
}
MATCHED_CHANGES: dict[str, tuple[float, ...]] = {
    **{name: (change / 2, change) for name, change in CHANGE_AT_ONE.items()},
    "yaw": (10.0, 20.0, 30.0),
    "pitch": (10.0, 15.0),
}
READING_DEVIATION = {
    "yaw": 0.268,
    "pitch": 0.421,
    "mouth_width": 0.00597,
    "mouth_opening": 0.00145,
    "eye_openness": 0.00796,
    "shading": 0.00719,
    "brow_height": 0.00313,
    "vertical_shading": 0.00659,
}
_NEAR = 0.15  # of a change


def near_enough(attribute: str, change: float) -> float:
    """Return how far a face's measured change may be from `change` to count as brought there.

    15 % of it, or one deviation of repeated readings where that is more.
    """
    return max(_NEAR * change, READING_DEVIATION[TARGET_MEASURES[attribute][0]])
