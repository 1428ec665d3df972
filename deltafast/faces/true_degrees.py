"""How many degrees a reader reads per true degree, on photoreal faces: what its readings are divided by.

The truth are faces whose own pixels were turned by known angles on a fitted head (`python -m benchmarks.turned_faces`,
docs/quality.md): means over faces that no report shows, turns up to 20 degrees. On rendered heads dlib's landmarks were
triangulated to read true degrees, so those take no factor.
"""

from __future__ import annotations

__all__ = ["DEGREES_READ", "true_degrees"]

# reader -> axis -> degrees read per degree turned; the mesh's pitch is positive downwards
DEGREES_READ = {
    "dlib": {"yaw": 0.905, "pitch": 1.026},
    "mesh": {"yaw": 0.934, "pitch": -1.059},
}


def true_degrees(reader: str, axis: str) -> float:
    """Return the factor that makes degrees of what a reader ("dlib", "mesh") says of an axis ("yaw", "pitch")."""
    return 1.0 / DEGREES_READ[reader][axis]
