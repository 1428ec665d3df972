"""What the readers of angles read of heads that look straight at the camera: where their degrees begin.

    python -m benchmarks.upright_heads --heads 32

Rendered random heads, turned by nothing, read by dlib's landmarks and MediaPipe's mesh, in degrees of each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from deltafast.evaluation.machine import describe_run
from deltafast.evaluation.readings import IMAGE_SIZE
from deltafast.evaluation.statistics import bootstrap_mean
from deltafast.face_networks.landmarks import load_face_landmarks
from deltafast.face_networks.measures import FACE_MEASURES, FaceMeasures
from deltafast.faces.meter import FaceMeter
from deltafast.faces.pose import fit_pose
from deltafast.files import write_json
from deltafast.pixels import to_floats
from deltafast.progress import track
from deltafast.synthetic import HeadModel, random_identity, render_frame

AXES = ("yaw", "pitch")


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "upright_heads.json")
    options = parser.parse_args(arguments)
    model, meter, mesh = HeadModel(), FaceMeter(), FaceMeasures(load_face_landmarks())
    columns = [FACE_MEASURES.index(axis) for axis in AXES]
    read: dict[str, list[list[float]]] = {"dlib": [], "mesh": []}
    for k in track(range(options.heads), "rendered heads"):
        image = render_frame(random_identity([71, k]), {}, model=model, size=IMAGE_SIZE, supersampling=1)
        face = meter.measure(image)
        pose = None if face is None else fit_pose(face.landmarks)
        read["dlib"].append([np.nan, np.nan] if pose is None else [pose.yaw, pose.pitch])
        with torch.inference_mode():
            read["mesh"].append(mesh(to_floats(np.array(image))[None])[0, columns].tolist())
    result: dict[str, dict[str, dict[str, float]]] = {}
    for reader, angles in read.items():
        table = np.array(angles)  # [N, axes]
        result[reader] = {
            axis: {**bootstrap_mean(table[:, k]).as_json(), "spread": float(np.nanstd(table[:, k]))}
            for k, axis in enumerate(AXES)
        }
        for axis, one in result[reader].items():
            print(
                f"{reader}, {axis}: {one['mean']:.2f} [{one['low']:.2f}, {one['high']:.2f}], spread {one['spread']:.2f}"
            )
    write_json(options.out, {"run": describe_run(), "heads": options.heads, "readers": result})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
