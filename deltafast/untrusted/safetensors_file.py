"""safetensors: the tensors and the metadata of a file."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from deltafast.untrusted.checks import UnreadableError, check_name

__all__ = ["read_safetensors"]

_MAX_TENSORS = 100_000
_MAX_LENGTH = 1 << 40  # of one axis; an axis beside one of length 0 may claim anything


def read_safetensors(
    path: str | os.PathLike[str], *, max_bytes: int | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors (on the CPU) and the metadata of a safetensors file of at most `max_bytes`.

    The format's own reader compares all sizes with the file's. Raises errors of many types; see `reading`.
    """
    from safetensors import safe_open

    size = Path(path).stat().st_size
    if max_bytes is not None and size > max_bytes:
        raise UnreadableError(f"the file has {size} bytes, expected at most {max_bytes}")
    with safe_open(os.fspath(path), framework="pt") as stream:
        names = [check_name(name, "a tensor's name") for name in stream.keys()]  # noqa: SIM118  (no mapping)
        if len(names) > _MAX_TENSORS:
            raise UnreadableError(f"{len(names)} tensors, expected at most {_MAX_TENSORS}")
        metadata = dict(stream.metadata() or {})
        for name in names:
            if any(length > _MAX_LENGTH for length in stream.get_slice(name).get_shape()):
                raise UnreadableError(f"the tensor {name} claims an axis of over 2^40")
        # copies: a tensor that is a window on the file would end the process where the file is cut short later
        return {name: stream.get_tensor(name).clone() for name in names}, metadata
