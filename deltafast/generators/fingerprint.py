"""The identity of a generator: a hash of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["fingerprint_tensors"]


def fingerprint_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 over name, dtype, shape and bytes of all tensors as fp32, sorted by name; 64 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().to(device="cpu", dtype=torch.float32).contiguous()
        digest.update(f"{name}|float32|{','.join(map(str, tensor.shape))}|".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
