"""Files of `torch.save`, read with `weights_only` and only after their sizes were checked."""

from __future__ import annotations

import argparse
import io
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from deltafast.errors import CheckpointError

__all__ = ["LEGACY_MAGIC", "read_torch_bytes", "read_torch_file"]

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # what torch.save wrote first before 1.6
_MAX_ENTRIES = 100_000


def read_torch_file(path: str | os.PathLike[str]) -> Any:
    """Read what `torch.save` wrote into the file `path`: tensors and plain containers, nothing else.

    Raises `CheckpointError` for anything else, for damage, and for archives that claim more than they hold.
    """
    with open(path, "rb") as stream:
        return _read(stream, Path(path).stat().st_size, path)


def read_torch_bytes(data: bytes, path: str | os.PathLike[str]) -> Any:
    """Read what `torch.save` wrote into `data`, a part of the file `path`; as `read_torch_file`."""
    return _read(io.BytesIO(data), len(data), path)


def _read(stream: BinaryIO, size: int, path: str | os.PathLike[str]) -> Any:
    if stream.read(4) == b"PK\x03\x04":
        _check_archive(stream, size, path)
    stream.seek(0)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly every type for hostile input
        raise CheckpointError(path, f"cannot be read as plain tensors: {_first_line(error)}") from None


def _check_archive(stream: BinaryIO, size: int, path: str | os.PathLike[str]) -> None:
    """Refuse archives whose entries are compressed (`torch.save` never does that) or overlap to claim more."""
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
    except Exception as error:  # zipfile, too, raises many types for hostile input
        raise CheckpointError(path, f"a damaged or truncated archive ({_first_line(error)})") from None
    if len(entries) > _MAX_ENTRIES:
        raise CheckpointError(path, f"an archive of {len(entries)} entries, expected at most {_MAX_ENTRIES}")
    claimed = sum(entry.file_size for entry in entries)
    if claimed > size or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(
            path, f"an archive of {size} bytes that unpacks to {claimed}: torch.save never compresses (a zip bomb?)"
        )


def _first_line(error: BaseException) -> str:
    """The part of an error message that names its cause, on one line."""
    text = str(error).strip()
    cause = text.partition("WeightsUnpickler error: ")[2]
    if not cause and text.startswith("Weights only load failed"):  # torch's advice surrounds the cause
        cause = text.partition("\n")[2].strip()
    lines = (cause or text).splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
