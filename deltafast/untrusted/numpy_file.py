"""numpy's own files: one array (.npy), or several in an archive (.npz), without anything pickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.untrusted.bounded import Bounded, read_entry
from deltafast.untrusted.checks import UnreadableError, check_name, shown

__all__ = ["Arrays", "read_npy"]

_MAX_HEADER = 10_000  # characters
_KINDS = "biufc"  # plain numbers


def read_npy(data: bytes) -> NDArray[Any]:
    """Return the array of a .npy file's bytes, in this machine's byte order.

    Raises `UnreadableError` for objects and structures, which would need unpickling, and for a shape that the file does
    not hold; other errors of many types; see `reading`.
    """
    stream: Any = Bounded(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise UnreadableError(f"npy format {version}, expected 1.0 or 2.0")
    old = version == (1, 0)
    read_header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream, max_header_size=_MAX_HEADER)
    if dtype.kind not in _KINDS:
        raise UnreadableError(f"an array of {shown(str(dtype))}, expected plain numbers")
    count = math.prod(shape)
    if any(type(n) is not int or n < 0 for n in shape) or count * dtype.itemsize > stream.left:
        raise UnreadableError(f"an array of {shown(count)} values of {dtype}, the file holds {stream.left} bytes")
    flat = np.frombuffer(data, dtype, count, len(data) - stream.left)  # [n]
    array = flat.reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="C")  # a copy that may be written to


class Arrays(Mapping[str, NDArray[Any]]):
    """The arrays of a .npz file by name, each read, and checked, when it is asked for."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        entries = archive.namelist()
        self._entries = {check_name(entry.removesuffix(".npy"), "an array's name"): entry for entry in entries}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return read_npy(read_entry(self._archive, self._entries[name]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
