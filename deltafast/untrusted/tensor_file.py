"""One tensor out of a file of another tool's: .pt, .npy, .npz or .safetensors, told by the name's ending."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltafast.untrusted.bounded import open_archive
from deltafast.untrusted.checks import UnreadableError, check_finite, check_growth, shown
from deltafast.untrusted.numpy_file import Arrays, read_npy
from deltafast.untrusted.pickled_values import PickledArray
from deltafast.untrusted.safetensors_file import read_safetensors
from deltafast.untrusted.torch_file import read_torch_bytes

__all__ = ["TENSOR_SUFFIXES", "read_tensor"]

TENSOR_SUFFIXES = (".pt", ".npy", ".npz", ".safetensors")
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def read_tensor(path: Path, names: tuple[str, ...]) -> Tensor:
    """Return the floating-point tensor in a file; of several the first that is called as `names` say.

    It is finite, dense, on the CPU, and of float64, float32, float16 or bfloat16. Raises `UnreadableError` where the
    file holds no such tensor, and errors of many types where it is damaged; see `reading`.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        with open(path, "rb") as stream, open_archive(stream, path.stat().st_size) as archive:
            return _tensor(_named(Arrays(archive), names))
    if suffix == ".safetensors":
        return _tensor(_named(read_safetensors(path)[0], names))
    data = path.read_bytes()
    content = read_npy(data) if suffix == ".npy" else read_torch_bytes(data)
    return _tensor(_named(content, names) if isinstance(content, Mapping) else content)


def _named(content: Mapping[Any, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if name in content:
            return content[name]
    keys = [key for key in content if isinstance(content, Arrays) or _is_tensor(content[key])]
    if len(keys) != 1:
        found = ", ".join(sorted(shown(key) for key in keys)[:8]) or "no tensors"
        raise UnreadableError(f"holds {found}; expected a tensor named {names[0]}")
    return content[keys[0]]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray)) or (isinstance(value, PickledArray) and value.values is not None)


def _tensor(found: Any) -> Tensor:
    if isinstance(found, PickledArray):
        found = found.values
    if isinstance(found, np.ndarray) and found.dtype in (np.float16, np.float32, np.float64):
        found = torch.from_numpy(found.astype(found.dtype.newbyteorder("="), order="C"))
    if not isinstance(found, Tensor) or found.dtype not in _FLOATS:
        what = f"{found.dtype} {list(found.shape)}" if isinstance(found, (Tensor, np.ndarray)) else type(found).__name__
        raise UnreadableError(f"holds {what}; expected floating point (float64, float32, float16 or bfloat16)")
    check_growth(found.numel() * found.element_size(), found.untyped_storage().nbytes(), "the tensor")
    check_finite(found, "the tensor")
    return found
