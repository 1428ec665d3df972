"""How many degrees a reader reads per true degree: what its readings are divided by.

The truth are faces whose own pixels were turned by known angles on a fitted head, and rendered heads, which are turned
by whatever they are told (`python -m benchmarks.turned_faces`, docs/quality.md): means over faces that no report shows,
turns up to 20 degrees. Photoreal faces and rendered heads are not read alike.
"""

from __future__ import annotations

__all__ = ["DEGREES_READ", "DEGREES_READ_ON_HEADS", "true_degrees"]

# reader -> axis -> degrees read per degree turned; the mesh's pitch is positive downwards
DEGREES_READ = {
    "dlib": {"yaw": 0.905, "pitch": 1.026},
    "mesh": {"yaw": 0.934, "pitch": -1.059},
}
DEGREES_READ_ON_HEADS = {
    "dlib": {"yaw": 0.999, "pitch": 0.758},
    "mesh": {"yaw": 1.060, "pitch": -0.939},
}


def true_degrees(reader: str, axis: str, *, rendered: bool = False) -> float:
    """Return the factor that makes degrees of what a reader ("dlib", "mesh") says of an axis ("yaw", "pitch").

    `rendered`: of a rendered head rather than a photoreal face.
    """
    return 1.0 / (DEGREES_READ_ON_HEADS if rendered else DEGREES_READ)[reader][axis]
