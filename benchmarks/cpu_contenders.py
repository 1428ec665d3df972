"""Who synthesises MobileStyleGAN-FFHQ on a CPU: deltafast, plain torch, OpenVINO, onnxruntime; on the same weights."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.baselines.mobilestylegan import PlainMobileStyleGAN
from deltafast.generators.base import Generator
from deltafast.generators.download import RANDOM_FACE_WHEEL
from deltafast.wheels import fetch_wheel

Synthesis = Callable[[Tensor], Tensor]  # w [1, w_dim] -> images [1, 3, H, W]
Found = tuple[str, Synthesis | str]  # a contender's name, and what it is or why it is missing

_IR = "random_face/data/SynthesisNetwork"


def plain(generator: Generator, *, channels_last: bool) -> PlainMobileStyleGAN:
    """Return the synthesis in plain torch, fp32."""
    return PlainMobileStyleGAN(generator, channels_last=channels_last, dtype=torch.float32)


def torch_contenders(generator: Generator, *, compiled: bool = True) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return what can be differentiated too, by name: W+ `[1, L, w_dim]` -> images `[1, 3, H, W]`."""
    nhwc = plain(generator, channels_last=True)
    contenders: dict[str, Callable[[Tensor], Tensor]] = {
        "deltafast": generator.synthesis,
        "plain torch, NCHW": plain(generator, channels_last=False),
        "plain torch, NHWC": nhwc,
    }
    if compiled:
        contenders["plain torch, NHWC, torch.compile"] = torch.compile(nhwc, fullgraph=True)
        contenders["deltafast, torch.compile"] = torch.compile(generator.synthesis)
    return contenders


def other_contenders(generator: Generator, threads: int, folder: Path) -> Iterator[Found]:
    """Yield the other libraries' networks; files of theirs go to `folder`."""
    yield from openvino_contenders(threads, folder)
    yield "onnxruntime", onnxruntime_contender(generator, threads)


def openvino_contenders(threads: int, folder: Path) -> Iterator[Found]:
    """Yield OpenVINO on the published IR, in both performance modes, in fp32 and, where the CPU has it, bf16."""
    names = [f"OpenVINO, {mode}" for mode in ("latency", "throughput")]
    if importlib.util.find_spec("openvino") is None:
        yield from ((name, "the package openvino is not installed") for name in names)
        return
    import openvino

    with zipfile.ZipFile(fetch_wheel(RANDOM_FACE_WHEEL)) as archive:
        for suffix in (".xml", ".bin"):
            (folder / f"synthesis{suffix}").write_bytes(archive.read(_IR + suffix))
    core = openvino.Core()
    model = core.read_model(folder / "synthesis.xml")
    precisions = {"": "f32"}
    if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        precisions[", bf16"] = "bf16"
    for label, precision in precisions.items():
        for name in names:
            options = {
                "PERFORMANCE_HINT": name.rpartition(" ")[2].upper(),
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": threads,
            }
            request = core.compile_model(model, "CPU", options).create_infer_request()
            yield name + label, _openvino_call(request)


def _openvino_call(request: object) -> Synthesis:
    def call(w: Tensor) -> Tensor:
        results = request.infer([w.numpy()])  # type: ignore[attr-defined]
        return torch.from_numpy(next(iter(results.values())))  # [1, 3, H, W]

    return call


def onnxruntime_contender(generator: Generator, threads: int) -> Synthesis | str:
    """Return onnxruntime on the plain network as torch exports it, or why that cannot be."""
    for package in ("onnxruntime", "onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            return f"the package {package} is not installed"
    import onnxruntime

    ws = torch.zeros(1, generator.num_ws, generator.w_dim)  # [1, L, w_dim]
    program = torch.onnx.export(plain(generator, channels_last=False).eval(), (ws,), dynamo=True, verbose=False)
    if program is None:
        return "torch.onnx.export gave no program"
    model = io.BytesIO()
    program.save(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.getvalue(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def call(w: Tensor) -> Tensor:
        codes = np.ascontiguousarray(w.unsqueeze(1).expand(-1, generator.num_ws, -1).numpy())  # [1, L, w_dim]
        return torch.from_numpy(session.run(None, {name: codes})[0])  # [1, 3, H, W]

    return call
