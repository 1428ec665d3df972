"""Makes faces/head_points.py: `python -m deltafast.evaluation.calibrate_pose`, about two minutes on one core.

Renders synthetic heads in known poses, some of them smiling, reads dlib's landmarks off the pictures and triangulates
where on the head they sit. Half of the heads then serve as a check that is printed: heads that took no part.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deltafast.faces import head_points
from deltafast.faces.meter import FaceMeter, stack_faces
from deltafast.faces.pose import fit_pose, triangulate
from deltafast.files import atomic_write
from deltafast.progress import track
from deltafast.synthetic import HeadModel, random_identity, render_frame

__all__ = ["main"]

Array = NDArray[np.float64]

_POSES = ((0, 0), (-40, 0), (-20, 5), (20, -5), (40, 0), (-10, -15), (10, 15), (30, 10), (-30, -8))  # yaw, pitch
_TABLE = Path(head_points.__file__)
_HEAD = '''"""Where dlib's 68 landmarks sit on an average head, in three dimensions.

Written by `python -m deltafast.evaluation.calibrate_pose`; see pose.py for the axes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["POINTS", "WEIGHTS"]

_TABLE: NDArray[np.float64] = np.array(
    [  # x, y, z in inter-ocular distances; weight
'''
_TAIL = """    ]
)

POINTS: NDArray[np.float64] = _TABLE[:, :3]  # [68, 3]
WEIGHTS: NDArray[np.float64] = _TABLE[:, 3]  # [68]
"""


def main() -> None:
    """Render, triangulate, write the table, and print how well heads that took no part are read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=24, help="random identities; half to learn from, half to check")
    heads = parser.parse_args().heads
    landmarks, yaw, pitch, head = _read_heads(heads)
    learned = head < heads // 2
    points, weights = triangulate(landmarks[learned], yaw[learned], pitch[learned])
    rows = [f"        ({x:.3f}, {y:.3f}, {z:.3f}, {w:.2f}),\n" for (x, y, z), w in zip(points, weights, strict=True)]
    with atomic_write(_TABLE) as temporary:
        temporary.write_text(_HEAD + "".join(rows) + _TAIL, encoding="utf-8")
    poses = [fit_pose(row, head=points, weights=weights) for row in landmarks[~learned]]
    fitted = np.array([[p.yaw, p.pitch] for p in poses])  # [M, 2]
    error = fitted - np.stack([yaw, pitch], axis=1)[~learned]  # [M, 2]
    for name, column in zip(("yaw", "pitch"), error.T, strict=True):
        rms, bias = np.sqrt((column**2).mean()), column.mean()
        print(f"{name}: RMS error {rms:.2f} degrees, bias {bias:+.2f}, on {len(column)} pictures of other heads")
    slopes = [np.polyfit(yaw[head == h], fitted[head[~learned] == h, 0], 1)[0] for h in np.unique(head[~learned])]
    print(f"yaw read per degree turned: {np.mean(slopes):.3f} (standard deviation over heads {np.std(slopes):.3f})")


def _read_heads(heads: int) -> tuple[Array, Array, Array, NDArray[np.intp]]:
    """Return landmarks `[M, 68, 2]`, yaw, pitch and number of the head `[M]` of all pictures with a face."""
    meter, model = FaceMeter(), HeadModel()
    jobs = [(h, *p) for h in range(heads) for p in _POSES]
    identities = [random_identity([68, h]) for h in range(heads)]
    faces = []
    for h, yaw, pitch in track(jobs, "heads"):
        smile = (h % 4) / 3 if h % 2 else 0.0
        values = {"yaw": float(yaw), "pitch": float(pitch), "smile": smile, "light": float(h * 37 % 61 - 30)}
        picture = render_frame(identities[h], values, model=model, size=192, supersampling=1, align="neutral")
        faces.append(meter.measure(picture))
    landmarks, _ = stack_faces(faces)
    found = np.isfinite(landmarks[:, 0, 0])
    head, yaws, pitches = np.array(jobs)[found].T
    return landmarks[found], yaws.astype(np.float64), pitches.astype(np.float64), head.astype(np.intp)


if __name__ == "__main__":
    main()
