"""The identity of a generator: a hash of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deltafast.generators.version_1 import to_version_1

__all__ = ["fingerprint_tensors", "generator_fingerprint"]


def generator_fingerprint(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> str:
    """Return the sha256 of a generator's canonical tensors, 64 hexadecimal digits.

    It is taken of them as version 1 had them, so that what was made with a generator since then still knows it. A
    generator out of a file of version 1 that no other form folds to the bit keeps that file's.
    """
    stored = {name: tensor.detach().to(device="cpu", dtype=torch.float32) for name, tensor in tensors.items()}
    found = fingerprint_tensors(to_version_1(stored, config))
    known = config.get("version_1_fingerprint")
    return str(known.get(found, found)) if isinstance(known, Mapping) else found


def fingerprint_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 over name, dtype, shape and bytes of all tensors as fp32, sorted by name; 64 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to(device="cpu", dtype=torch.float32).contiguous()
        digest.update(f"{name}|float32|{','.join(map(str, tensor.shape))}|".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
