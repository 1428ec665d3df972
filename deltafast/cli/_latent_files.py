"""Latent files as other tools write them: .pt, .npy, .npz and .safetensors, read without executing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deltafast.errors import InvalidInputError

__all__ = ["LATENT_SUFFIXES", "read_latent_file"]

LATENT_SUFFIXES = (".pt", ".npy", ".npz", ".safetensors")
_NAMES = ("ws", "w", "latents", "latent", "w_plus")


def read_latent_file(path: Path) -> Any:
    """Return the latents in a file as a floating-point tensor `[N, num_ws, w_dim]` or `[N, w_dim]`.

    Of a file with several tensors the one named ws, w, latents, latent or w_plus is taken. A single W+ code
    `[num_ws, w_dim]` cannot be told from N W codes by its shape: write it as `[1, num_ws, w_dim]`. Raises
    `InvalidInputError` that names the file when it is missing, damaged, would need unpickling, or holds no such tensor.
    """
    import torch

    found = _read(path)
    if not isinstance(found, torch.Tensor) or not found.is_floating_point() or found.ndim not in (2, 3):
        what = f"{found.dtype} {list(found.shape)}" if hasattr(found, "shape") else type(found).__name__
        raise InvalidInputError(f"{path} holds {what}; expected floating point [N, num_ws, w_dim] or [N, w_dim]")
    return found


def read_tensor_file(path: Path) -> Any:
    """Return the one floating-point tensor in a file (.pt, .npy, .npz, .safetensors), of any shape.

    Raises `InvalidInputError` that names the file, as `read_latent_file` does.
    """
    import torch

    found = _read(path)
    if not isinstance(found, torch.Tensor) or not found.is_floating_point():
        what = f"{found.dtype} {list(found.shape)}" if hasattr(found, "shape") else type(found).__name__
        raise InvalidInputError(f"{path} holds {what}; expected one floating-point tensor")
    return found


def _read(path: Path) -> Any:
    """Return what a file holds, the named tensor of several, arrays of floats as tensors."""
    import pickle
    import zipfile

    import numpy as np
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    failures: tuple[type[Exception], ...] = (OSError, ValueError, RuntimeError, EOFError, KeyError, SafetensorError)
    failures += (pickle.UnpicklingError, zipfile.BadZipFile)
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        elif path.suffix == ".pt":
            found = torch.load(path, map_location="cpu", weights_only=True)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
        else:
            found = np.load(path, allow_pickle=False)
    except failures as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if path.suffix == ".pt":  # torch's own message advises to switch the safety off
            reason = "the file is damaged, or holds objects other than tensors; save the tensor alone"
        raise InvalidInputError(f"{path} cannot be read as latents: {reason}") from error
    if isinstance(found, dict):
        tensors = {name: value for name, value in found.items() if hasattr(value, "shape")}
        named = [tensors[name] for name in _NAMES if name in tensors]
        if not named and len(tensors) != 1:
            raise InvalidInputError(
                f"{path} holds {', '.join(map(str, sorted(tensors))) or 'no tensors'}; expected a tensor named ws"
            )
        found = named[0] if named else next(iter(tensors.values()))
    if isinstance(found, np.ndarray) and found.dtype.kind == "f":
        found = torch.from_numpy(np.ascontiguousarray(found, dtype=found.dtype.newbyteorder("=")))
    return found
