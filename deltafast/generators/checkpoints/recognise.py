"""Which format a checkpoint file has, from its first bytes, whatever its name says."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Literal

from deltafast.errors import CheckpointError
from deltafast.untrusted.torch_file import LEGACY_MAGIC

__all__ = ["Kind", "recognise"]

Kind = Literal["native", "pickle", "torch", "wheel"]


def recognise(path: str | os.PathLike[str]) -> Kind:
    """Return the format of a checkpoint file.

    Raises `CheckpointError` when there is no readable file at `path`, or none of a known format.
    """
    place = Path(path)
    if place.is_dir():
        raise CheckpointError(path, "is a folder, expected a checkpoint file")
    if not place.is_file():
        raise CheckpointError(path, 'no such file; expected a checkpoint, or the name "mobilestylegan-ffhq"')
    try:
        with open(place, "rb") as stream:
            start = stream.read(len(LEGACY_MAGIC))
    except OSError as error:
        raise CheckpointError(path, f"cannot be read ({error.strerror or error})") from error
    if not start:
        raise CheckpointError(path, "the file is empty")
    if start.startswith(b"PK\x03\x04"):
        return "wheel" if _is_wheel(place) else "torch"
    if start == LEGACY_MAGIC:
        return "torch"
    if start[:1] == b"\x80" and len(start) > 1 and start[1] <= 5:
        return "pickle"
    if start[8:9] == b"{":
        return "native"
    raise CheckpointError(
        path,
        "not a checkpoint of a known format: expected a stylegan2-ada or stylegan3 pickle, a .pt file of rosinality, "
        "encoder4editing or pSp, or safetensors written by deltafast",
    )


def _is_wheel(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "random_face/data/SynthesisNetwork.xml" in archive.namelist()
    except Exception:  # zipfile raises many types for damaged input; the reader of torch files will say what is wrong
        return False
