"""Our own generator files: safetensors with the config in the metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.files import atomic_write
from deltafast.generators.fingerprint import fingerprint_tensors, generator_fingerprint
from deltafast.generators.version_1 import from_version_1, to_version_1
from deltafast.untrusted.checks import reading, shown
from deltafast.untrusted.json_text import parse_json
from deltafast.untrusted.safetensors_file import read_safetensors

__all__ = ["FORMAT", "read_native", "write_native"]

FORMAT = "deltafast-generator"
_VERSION = "2"
_READABLE = ("1", "2")


def write_native(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write canonical tensors (as fp32) and a config to one safetensors file, atomically."""
    stored = {
        name: tensor.detach().to(device="cpu", dtype=torch.float32).contiguous().clone()
        for name, tensor in tensors.items()
    }
    metadata = {
        "format": FORMAT,
        "version": _VERSION,
        "config": json.dumps(dict(config), sort_keys=True),
        "fingerprint": generator_fingerprint(stored, config),
        "sha256": fingerprint_tensors(stored),
    }
    with atomic_write(path) as temporary:
        save_file(stored, temporary, metadata)


def read_native(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read canonical tensors and config from a file that `write_native` wrote.

    Raises `CheckpointError` when the file is damaged or of another kind.
    """
    with reading(lambda reason: CheckpointError(path, f"a damaged safetensors file ({reason})")):
        tensors, metadata = read_safetensors(path)
        if metadata.get("format") != FORMAT:
            kind = shown(metadata.get("format", "no format"))
            raise CheckpointError(path, f"a safetensors file, but not of a generator: its metadata names {kind}")
        version = metadata.get("version")
        if version not in _READABLE:
            readable = " and ".join(_READABLE)
            raise CheckpointError(path, f"generator file of version {shown(version)}; this deltafast reads {readable}")
        config = parse_json(metadata.get("config", ""))
    if not isinstance(config, dict):
        raise CheckpointError(path, "the config in its metadata is no JSON object")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise CheckpointError(path, f"tensor {name} is {tensor.dtype}, expected torch.float32")
    digest = fingerprint_tensors(tensors)
    if metadata.get("fingerprint" if version == "1" else "sha256") != digest:
        raise CheckpointError(path, "its weights do not match the sha256 in its metadata: the file was altered")
    if version == "1":
        tensors, config = from_version_1(tensors, config)
        computed = fingerprint_tensors(to_version_1(tensors, config))
        if computed != digest:
            config["version_1_fingerprint"] = {computed: digest}
    return tensors, config
