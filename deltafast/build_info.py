"""What is installed here: versions, what `deltafast._C` was built with, and what this machine can run."""

from __future__ import annotations

import os
import platform
from typing import Any

__all__ = ["build_info"]


def build_info() -> dict[str, Any]:
    """Return the facts that `deltafast info` prints, as a dict of plain values (JSON can hold it).

    Keys: "deltafast", "python", "platform", "torch" (versions); "extension" (path of `deltafast._C`, the torch it was
    built against, compiler, CUDA toolkit or None, compiled CUDA architectures) or "extension_error" (text) where it
    does not load; "cpu" (cores, torch's threads, instruction sets that run here, the one in use); "cuda" (torch's
    CUDA version or None, whether the kernels reach torch's stream, devices with name, capability and memory in bytes,
    and whether a kernel was compiled for each). Starts no CUDA context where torch sees no device. Raises nothing.
    """
    import torch

    import deltafast
    from deltafast.errors import BuildError

    info: dict[str, Any] = {
        "deltafast": deltafast.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
    }
    cpu: dict[str, Any] = {"cores": os.cpu_count(), "torch_threads": torch.get_num_threads()}
    cuda: dict[str, Any] = {"torch_cuda": torch.version.cuda, "devices": []}
    architectures: list[str] = []
    try:
        from deltafast.ops._library import load_library

        extension = load_library()
    except BuildError as error:
        info["extension_error"] = str(error)
    else:
        built = extension.build_info()
        architectures = built["cuda_architectures"].split()
        info["extension"] = {
            "file": extension.__file__,
            "built_against_torch": built["built_against_torch"],
            "compiler": built["compiler"],
            "cuda_toolkit": built["cuda_toolkit"],
            "cuda_architectures": architectures,
        }
        cpu["instruction_sets"] = list(built["cpu_instruction_sets"])
        cpu["instruction_set"] = built["cpu_instruction_set"]
        cuda["stream_reachable"] = extension.cuda_stream_is_reachable()
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            capability = (properties.major, properties.minor)
            cuda["devices"].append(
                {
                    "name": properties.name,
                    "capability": f"{capability[0]}.{capability[1]}",
                    "memory": properties.total_memory,
                    "compiled_for": runs_on(architectures, capability),
                }
            )
    info["cpu"] = cpu
    info["cuda"] = cuda
    return info


def runs_on(architectures: list[str], capability: tuple[int, int]) -> bool:
    """Return whether code for `architectures` ("80-real", "80-virtual", ...) runs on a GPU of `capability`.

    Machine code runs on GPUs of the same major version with at least its minor version, PTX on every later GPU; an
    architecture with the suffix a only on itself.
    """
    have = capability[0] * 10 + capability[1]
    for name in architectures:
        number, _, kind = name.partition("-")
        if number.endswith("a"):
            if number == f"{have}a":
                return True
            continue
        arch = int(number.rstrip("f"))
        if kind == "virtual":
            if arch <= have:
                return True
        elif arch // 10 == capability[0] and arch <= have:
            return True
    return False
