"""Files of `torch.save`, in the zip format and in the one before torch 1.6, read without torch's unpickler.

torch's own reader refuses whole files for one object that nobody needs, and knows protocol 2 alone. This one reads
the tensors and leaves every object that is no plain value as an inert `Record`.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltafast.untrusted.bounded import Bounded, Budget, open_archive
from deltafast.untrusted.checks import UnreadableError, shown
from deltafast.untrusted.pickled_values import Storage
from deltafast.untrusted.pickles import read_pickle

__all__ = ["LEGACY_MAGIC", "read_pickle_bytes", "read_torch_bytes"]

LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # the number that torch.save pickled first before 1.6
_LEGACY_PROTOCOL = 1001
_MAX_PICKLE = 1 << 28  # bytes of the pickle beside the tensors


def read_pickle_bytes(data: bytes, foreign: dict[str, None] | None = None) -> Any:
    """Read a plain pickle, with storages of torch's in it as bytes; see `read_pickle`."""
    names: dict[str, None] = {} if foreign is None else foreign
    budget = Budget(len(data))
    known: dict[int, tuple[bytes, Any]] = {}  # what was made of bytes that the pickle may name again

    def storage_from_bytes(part: Any) -> Any:
        if id(part) not in known:
            known[id(part)] = part, _read_torch_bytes(_bytes(part), names, budget)
        return known[id(part)][1]

    return read_pickle(Bounded(data), budget=budget, storage_from_bytes=storage_from_bytes, foreign=names)


def read_torch_bytes(data: bytes, foreign: dict[str, None] | None = None) -> Any:
    """Read what `torch.save` wrote: tensors, arrays, plain containers, and a `Record` for every other object.

    `foreign` collects the names of objects that are none of a checkpoint's. Raises errors of nearly every type; see
    `reading`.
    """
    return _read_torch_bytes(data, {} if foreign is None else foreign, Budget(len(data)))


def _read_torch_bytes(data: bytes, foreign: dict[str, None], budget: Budget) -> Any:
    if data[:4] == b"PK\x03\x04":
        return _read_archive(data, foreign, budget)
    return _read_legacy(data, foreign, budget)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise UnreadableError("a storage that is no bytes")
    return value


def _read_archive(data: bytes, foreign: dict[str, None], budget: Budget) -> Any:
    with open_archive(io.BytesIO(data), len(data)) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        roots = [name.partition("/")[0] for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise UnreadableError("a zip archive, but none that torch.save wrote: it has no data.pkl")
        root = roots[0]
        if any(name.startswith(f"{root}/code/") for name in entries):
            raise UnreadableError("a TorchScript archive, which holds a program; save the state_dict() instead")
        if any(entry.file_size != entry.compress_size or entry.compress_type for entry in entries.values()):
            raise UnreadableError("an archive that is compressed, which torch.save never does (a zip bomb?)")
        if f"{root}/byteorder" in entries and archive.read(f"{root}/byteorder") != b"little":
            raise UnreadableError("tensors of big-endian byte order; save it again on a little-endian machine")
        if entries[f"{root}/data.pkl"].file_size > _MAX_PICKLE:
            raise UnreadableError(f"a pickle of more than {_MAX_PICKLE} bytes beside the tensors")
        memory: dict[str, Tensor] = {}

        def storage(pid: Any) -> Any:
            dtype, key, _count, _view = _storage_id(pid)
            if key not in memory:
                memory[key] = _filled(archive.read(f"{root}/data/{key}"))
            return Storage(memory[key].view(dtype))

        pickled = Bounded(archive.read(f"{root}/data.pkl"))
        return read_pickle(pickled, budget=budget, storage=storage, foreign=foreign)


def _read_legacy(data: bytes, foreign: dict[str, None], budget: Budget) -> Any:
    stream = Bounded(data)
    read_pickle(stream, budget=budget)  # the magic number
    if read_pickle(stream, budget=budget) != _LEGACY_PROTOCOL:
        raise UnreadableError("a file of torch.save of an unknown version")
    machine = read_pickle(stream, budget=budget)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise UnreadableError("tensors of big-endian byte order; save it again on a little-endian machine")
    memory: dict[str, Tensor] = {}  # each uint8 [bytes], filled when the pickle is read
    sizes: dict[str, int] = {}
    claimed = 0  # bytes of all of them

    def storage(pid: Any) -> Any:
        nonlocal claimed
        if isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]  # a class beside its source
        dtype, key, count, view = _storage_id(pid)
        if key not in memory:
            claimed += count * dtype.itemsize
            if claimed > stream.left:
                raise UnreadableError(f"a storage of {shown(count)} values, more than the file holds")
            memory[key], sizes[key] = torch.empty(count * dtype.itemsize, dtype=torch.uint8), count
        flat = memory[key].view(dtype)
        if view is not None:
            _, offset, length = view
            flat = flat[_index(offset) : _index(offset) + _index(length)]
        return Storage(flat)

    content = read_pickle(stream, budget=budget, storage=storage, foreign=foreign)
    keys = read_pickle(stream, budget=budget)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(memory):
        raise UnreadableError("other storages than its tensors need")
    for key in keys:
        if int.from_bytes(stream.read(8), "little") != sizes[str(key)]:
            raise UnreadableError("a storage of another size than its tensors need")
        memory[str(key)].copy_(_filled(stream.read(len(memory[str(key)]))))
    return content


def _storage_id(pid: Any) -> tuple[torch.dtype, str, int, Any]:
    """The dtype, key, number of values and view of a storage that a pickle refers to."""
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or not isinstance(pid[1], torch.dtype):
        raise UnreadableError("a reference to what is no storage")
    key, count, view = pid[2], _index(pid[4]), pid[5] if len(pid) > 5 else None
    if not isinstance(key, str) or not 0 < len(key) < 40:
        raise UnreadableError("a storage without a key")
    if view is not None and not (isinstance(view, tuple) and len(view) == 3):
        raise UnreadableError("a storage with a view that is none")
    return pid[1], key, count, view


def _index(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 60:
        raise UnreadableError(f"a size of {shown(value)}")
    return value


def _filled(data: bytes) -> Tensor:
    """Bytes as a tensor uint8 `[n]` of its own."""
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())
