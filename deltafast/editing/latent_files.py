"""Latent files as other tools write them: .pt, .npy, .npz and .safetensors, read without executing anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deltafast.errors import InvalidInputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LATENT_SUFFIXES", "read_latent_file", "read_tensor_file"]

LATENT_SUFFIXES = (".pt", ".npy", ".npz", ".safetensors")
_NAMES = ("ws", "w", "latents", "latent", "w_plus")


def read_latent_file(path: Path) -> Tensor:
    """Return the latents in a file as a floating-point tensor `[N, num_ws, w_dim]` or `[N, w_dim]`, finite.

    Of a file with several tensors the one named ws, w, latents, latent or w_plus is taken. A single W+ code
    `[num_ws, w_dim]` cannot be told from N W codes by its shape: write it as `[1, num_ws, w_dim]`. Raises
    `InvalidInputError` that names the file when it is missing, damaged, would need unpickling, claims more than it
    holds, or holds no such tensor.
    """
    found = read_tensor_file(path)
    if found.ndim not in (2, 3):
        what = f"{found.dtype} {list(found.shape)}"
        raise InvalidInputError(f"{path} holds {what}; expected floating point [N, num_ws, w_dim] or [N, w_dim]")
    return found


def read_tensor_file(path: Path) -> Tensor:
    """Return the one floating-point tensor in a file (.pt, .npy, .npz, .safetensors), of any shape, finite.

    Raises `InvalidInputError` that names the file, as `read_latent_file` does.
    """
    from deltafast.untrusted.checks import reading
    from deltafast.untrusted.tensor_file import read_tensor

    with reading(lambda reason: InvalidInputError(f"{path} cannot be read as latents: {reason}")):
        return read_tensor(path, _NAMES)
