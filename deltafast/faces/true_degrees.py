"""How a reader's degrees become true ones: where they begin, and how many it reads per true degree.

The truth are faces whose own pixels were turned by known angles on a fitted head, and rendered heads, which are turned
by whatever they are told (`python -m benchmarks.turned_faces`, docs/quality.md): means over faces that no report shows,
turns up to 20 degrees. Photoreal faces and rendered heads are not read alike. Where degrees begin is known of rendered
heads alone (`python -m benchmarks.upright_heads`), each of which is read some degrees higher or lower than another.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEGREES_READ", "DEGREES_READ_ON_HEADS", "READ_UPRIGHT", "true_angle", "true_degrees"]

Angle = TypeVar("Angle", float, NDArray[np.float64])

# reader -> axis -> degrees read per degree turned; the mesh's pitch is positive downwards
DEGREES_READ = {
    "dlib": {"yaw": 0.905, "pitch": 1.026},
    "mesh": {"yaw": 0.934, "pitch": -1.059},
}
DEGREES_READ_ON_HEADS = {
    "dlib": {"yaw": 0.999, "pitch": 0.758},
    "mesh": {"yaw": 1.060, "pitch": -0.939},
}
# reader -> axis -> what is read of a head that looks straight at the camera
READ_UPRIGHT = {
    "dlib": {"yaw": -0.20, "pitch": -1.51},
    "mesh": {"yaw": 0.28, "pitch": 9.32},
}


def true_degrees(reader: str, axis: str, *, rendered: bool = False) -> float:
    """Return the factor that makes degrees of what a reader ("dlib", "mesh") says of an axis ("yaw", "pitch").

    `rendered`: of a rendered head rather than a photoreal face.
    """
    return 1.0 / (DEGREES_READ_ON_HEADS if rendered else DEGREES_READ)[reader][axis]


def true_angle(reader: str, axis: str, read: Angle) -> Angle:
    """Return the true angle of a photoreal face of which a reader ("dlib", "mesh") reads `read` degrees; or of many.

    0 looks straight at the camera; yaw is positive where the face looks to the picture's right, pitch upwards.
    """
    return (read - READ_UPRIGHT[reader][axis]) * true_degrees(reader, axis)
