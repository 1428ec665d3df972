"""Which format a checkpoint file has, from its first bytes, whatever its name says; and what it is instead of one."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Literal

from deltafast.errors import CheckpointError
from deltafast.untrusted.checks import one_line, reason_of
from deltafast.untrusted.torch_file import LEGACY_MAGIC

__all__ = ["Kind", "check_not_url", "recognise"]

Kind = Literal["native", "pickle", "torch", "wheel"]

_HEAD = 1024  # bytes that are looked at
_LEGACY_HEAD = 32  # within these torch.save's magic number stands, of any pickle protocol
_EXPECTED = (
    "expected a pickle of StyleGAN2 (TensorFlow's, stylegan2-ada's or stylegan3's), a .pt file of rosinality, "
    "encoder4editing, pSp or PTI, or safetensors written by deltafast"
)
# first bytes -> what the file is, and what to do
_PACKED = (
    (b"\x1f\x8b", "a gzip file", "gunzip"),
    (b"\xfd7zXZ\x00", "an xz file", "unxz"),
    (b"BZh", "a bzip2 file", "bunzip2"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "7z x"),
    (b"Rar!\x1a\x07", "a rar archive", "unrar x"),
)
_OTHERS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras?)"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x93NUMPY", "a numpy array"),
    (b"%PDF-", "a PDF document"),
    (b"GGUF", "a GGUF file"),
    (b"\x7fELF", "a program"),
)
_TAR_MARK = 257  # where a tar file says "ustar"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+[^/]")


def check_not_url(given: str) -> None:
    """Raise `CheckpointError` where a checkpoint is given by a web address."""
    match = _URL.match(given)
    if match is not None and len(match.group(1)) > 1:  # one letter is a drive of Windows
        shown = one_line(given)
        raise CheckpointError(
            shown, f"a web address; download the file first (curl -L -o checkpoint.pkl '{shown}') and give its path"
        )


def recognise(path: str | os.PathLike[str]) -> Kind:
    """Return the format of a checkpoint file.

    Raises `CheckpointError` when there is no readable file at `path`, or none of a known format: it then says what
    the file is, where that can be told, and what to do.
    """
    place = Path(path)
    try:
        if place.is_dir():
            raise CheckpointError(path, "is a folder, expected a checkpoint file")
        if not place.is_file():
            raise CheckpointError(path, 'no such file; expected a checkpoint, or the name "mobilestylegan-ffhq"')
        with open(place, "rb") as stream:
            start = stream.read(_HEAD)
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        raise CheckpointError(one_line(str(path)), f"cannot be read ({reason_of(error)})") from error
    if not start:
        raise CheckpointError(path, "the file is empty")
    if start.startswith(b"PK\x03\x04"):
        return _kind_of_archive(place)
    if start[:1] == b"\x80" and LEGACY_MAGIC in start[:_LEGACY_HEAD]:
        return "torch"
    if start[:1] == b"\x80" and len(start) > 1 and start[1] <= 5:
        return "pickle"
    if start[8:9] == b"{":
        return "native"
    raise CheckpointError(path, _what_instead(start))


def _what_instead(start: bytes) -> str:
    """What a file of no supported format is, from its first bytes."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself: fetch it by `git lfs pull` in its repository"
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<script", b"<!--")) or b"<html" in text:
        return (
            "a web page, saved in place of the checkpoint (a download that asks to log in or to confirm, such as "
            "Google Drive's, gives one): download the file itself"
        )
    for magic, what, command in _PACKED:
        if start.startswith(magic):
            return f"{what}: unpack it first ({command}) and give the file inside"
    if start[_TAR_MARK : _TAR_MARK + 5] == b"ustar":
        return "a tar archive: unpack it first (tar xf) and give the file inside"
    for magic, what in _OTHERS:
        if start.startswith(magic):
            return f"{what}, no checkpoint; {_EXPECTED}"
    if text.startswith(b"<?xml"):
        return f"an XML document, no checkpoint; {_EXPECTED}"
    if text.startswith((b"{", b"[")):
        return f"JSON text (an error message of a server?), no checkpoint; {_EXPECTED}"
    if start[:1] in (b"(", b"c", b"]", b"}") and start.rstrip().endswith(b".") and len(start) < _HEAD:
        return f"a pickle of protocol 0 or 1, or a text; {_EXPECTED}"
    if all(byte >= 32 or byte in b"\t\r\n\x0c" for byte in start):
        return f"a text file, no checkpoint; {_EXPECTED}"
    return f"not a checkpoint of a known format: {_EXPECTED}"


def _kind_of_archive(path: Path) -> Kind:
    """Tell the zip files of torch.save and the wheel from archives around checkpoints."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # zipfile raises many types for damaged input; the reader of torch files will say what is wrong
        return "torch"
    if "random_face/data/SynthesisNetwork.xml" in names:
        return "wheel"
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError(path, f"numpy arrays (.npz), no checkpoint; {_EXPECTED}")
    inside = [
        one_line(name) for name in names if name.lower().endswith((".pkl", ".pt", ".pth", ".safetensors", ".ckpt"))
    ]
    held = f" and give {inside[0]}" if inside else f"; it holds {', '.join(map(one_line, names[:3])) or 'nothing'}"
    raise CheckpointError(path, f"a zip archive around other files: unpack it first (unzip){held}")
