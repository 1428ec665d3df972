"""A pickle reader that builds tensors, numpy arrays, plain containers and inert records, and nothing else.

Pickles of stylegan2-ada and stylegan3 hold modules as "persistent objects": their Python source, a class name and
their state. The source is never executed; the object becomes a `Record` of its state. Every global that a pickle
may name maps to a function of this file: nothing is imported, looked up or called by name. The interpreter is the
pure Python one of the standard library, because its memo cannot be made to allocate memory by a large index.
"""

from __future__ import annotations

import collections
import io
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.errors import CheckpointError
from deltafast.generators.checkpoints.torch_file import read_torch_bytes

__all__ = ["Record", "read_restricted_pickle"]

_NUMPY_CODES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
_MAX_NAME = 120


@dataclass
class Record:
    """An object of the checkpoint as plain data: the name of its class and its attributes."""

    class_name: str
    state: dict[Any, Any] = field(default_factory=dict)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError(f"the state of a {self.class_name} is no dict")
        self.state = state


class _Function:
    """What a global stands for; unlike a function or class it has no attributes that a pickle could overwrite."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError("an attempt to change what reads the file")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("an attempt to change what reads the file")


class _Dtype:
    """A numpy dtype being unpickled: its code, then its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or code not in _NUMPY_CODES:
            raise pickle.UnpicklingError(
                f"numpy dtype {code if isinstance(code, str) else ''!r:.40}, expected plain numbers"
            )
        self.code: str = code
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("a numpy dtype of unknown byte order")
        self.order = state[1]

    def plain(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)


class _Array:
    """A numpy array being unpickled; `values` once its state arrived."""

    __slots__ = ("values",)

    def __init__(self, *_: Any) -> None:
        self.values: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("a numpy array that does not hold plain numbers")
        flat = np.frombuffer(data, dtype.plain())  # [n]
        self.values = flat.reshape(tuple(shape), order="F" if fortran else "C")  # fails where the sizes differ


def _array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> _Array:
    """An array as pickle protocol 5 writes it."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes) or len(data) != dtype.plain().itemsize:
        raise pickle.UnpicklingError("a numpy scalar that is no plain number")
    return np.frombuffer(data, dtype.plain())[0].item()


def _persistent_object(meta: Any, *_: Any) -> Record:
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise pickle.UnpicklingError("a persistent object of unknown kind")
    state = meta.get("state")
    name = meta.get("class_name")
    record = Record(name[:_MAX_NAME] if isinstance(name, str) else "")
    record.__setstate__(state if state is not None else {})
    return record


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage, refused where it reaches beyond it or claims more values than it has."""
    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError("a tensor whose storage is no storage")
    whole = torch.empty(0, dtype=storage.dtype).set_(storage._untyped_storage)  # [n]
    size, stride = tuple(size), tuple(stride)
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(type(n) is int and 0 <= n <= whole.numel() for n in numbers):
        raise pickle.UnpicklingError("a tensor of impossible shape")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    count = 1
    for n in size:
        count *= n
    if count and (last >= whole.numel() or count > whole.numel()):
        raise pickle.UnpicklingError(f"a tensor {list(size)} larger than its storage of {whole.numel()} values")
    return whole.as_strided(size, stride, offset)


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError("a parameter that is no tensor")
    return data


def _ordered_dict() -> collections.OrderedDict[Any, Any]:
    return collections.OrderedDict()


def _new_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _latin1(text: Any, encoding: Any) -> bytes:
    """Bytes as protocols 0 to 2 write them."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("an encoding that is not known")
    return text.encode("latin1")


def _set(items: Any = ()) -> set[Any]:
    if not isinstance(items, list) and items != ():
        raise pickle.UnpicklingError("a set that is made of no list")
    return {_key(item) for item in items}


def _key(value: Any) -> Any:
    """A dict key or set item: simple ones only, since hashing nested tuples can be made to take for ever."""
    if not isinstance(value, (str, bytes, int, float, type(None))):
        raise pickle.UnpicklingError(f"a {type(value).__name__} as key of a dict or item of a set")
    return value


_PurePython: Any = vars(pickle)["_Unpickler"]


class _Unpickler(_PurePython):  # type: ignore[misc]
    """The standard interpreter with every way out of it closed."""

    dispatch: ClassVar[dict[int, Any]] = {
        code: method
        for code, method in _PurePython.dispatch.items()
        if code not in {op[0] for op in (pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.INST, pickle.OBJ)}
    }

    def __init__(self, stream: _Bounded, path: str | os.PathLike[str]) -> None:
        super().__init__(stream, encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        known = _GLOBALS.get((module, name))
        if known is not None:
            return known
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _Function(self._storage)
        shown = f"{module}.{name}"[:_MAX_NAME]
        raise CheckpointError(self._path, f"names the foreign object {shown!r}, which a checkpoint has no use for")

    def _storage(self, data: Any) -> Any:
        if not isinstance(data, bytes):
            raise pickle.UnpicklingError("a storage that is no bytes")
        return read_torch_bytes(data, self._path)

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError("an extension code")

    def load_newobj(self) -> None:
        """Build an empty dict for the dict types of this format; nothing else is created this way."""
        self.stack.pop()
        factory = self.stack.pop()
        if factory is not _EASY_DICT:
            raise pickle.UnpicklingError("an object of a class that is not known")
        self.append({})

    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch.pop(pickle.NEWOBJ_EX[0])

    def load_reduce(self) -> None:
        args = self.stack.pop()
        function = self.stack[-1]
        if not isinstance(function, _Function) or not isinstance(args, tuple):
            raise pickle.UnpicklingError("a call of what is no known function")
        self.stack[-1] = function(*args)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, (Record, _Dtype, _Array)):
            target.__setstate__(state)
        elif isinstance(target, dict) and isinstance(state, dict):
            pass  # attributes beside the items of a dict: of no use here
        else:
            raise pickle.UnpicklingError("a state for what can have none")

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self) -> None:
        """Read a bytearray as bytes; the base class allocates what is claimed before it reads."""
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    # The base class fills whatever has fitting methods, tensors too; here only lists, dicts and sets are filled.

    def load_append(self) -> None:
        value = self.stack.pop()
        _exactly(self.stack[-1], list).append(value)

    dispatch[pickle.APPEND[0]] = load_append

    def load_appends(self) -> None:
        items = self.pop_mark()
        _exactly(self.stack[-1], list).extend(items)

    dispatch[pickle.APPENDS[0]] = load_appends

    def load_setitem(self) -> None:
        value = self.stack.pop()
        key = _key(self.stack.pop())
        _exactly(self.stack[-1], dict)[key] = value

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        items = self.pop_mark()
        target = _exactly(self.stack[-1], dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_additems(self) -> None:
        items = self.pop_mark()
        _exactly(self.stack[-1], set).update(_key(item) for item in items)

    dispatch[pickle.ADDITEMS[0]] = load_additems

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    dispatch[pickle.DICT[0]] = load_dict

    def load_frozenset(self) -> None:
        self.append(frozenset(_key(item) for item in self.pop_mark()))

    dispatch[pickle.FROZENSET[0]] = load_frozenset


def _exactly(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise pickle.UnpicklingError(f"items for a {type(value).__name__}, expected a {kind.__name__}")
    return value


class _Bounded:
    """A file in memory that refuses to read beyond its end, before anything is allocated."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self._size = len(data)

    def read(self, count: int) -> bytes:
        if count < 0 or count > self._size - self._stream.tell():
            raise EOFError("the file ends too early (truncated?)")
        return self._stream.read(count)

    def readline(self) -> bytes:
        return self._stream.readline()

    def readinto(self, buffer: Any) -> int:
        raise pickle.UnpicklingError("an out-of-band buffer")


_EASY_DICT = _Function(_new_dict)
_GLOBALS: dict[tuple[str, str], _Function] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Function(_persistent_object),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(_parameter),
    ("collections", "OrderedDict"): _Function(_ordered_dict),
    ("dnnlib.util", "EasyDict"): _EASY_DICT,
    ("numpy", "dtype"): _Function(_Dtype),
    ("numpy", "ndarray"): _Function(_Array),
    **{
        (f"numpy.{core}.multiarray", name): function
        for core in ("core", "_core")
        for name, function in (("_reconstruct", _Function(_Array)), ("scalar", _Function(_scalar)))
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Function(_array_from_buffer) for core in ("core", "_core")},
    **{(module, "set"): _Function(_set) for module in ("builtins", "__builtin__")},
    ("_codecs", "encode"): _Function(_latin1),
}


def read_restricted_pickle(path: str | os.PathLike[str]) -> Any:
    """Read a pickle of stylegan2-ada or stylegan3: containers, tensors, arrays, and `Record` for objects.

    Raises `CheckpointError` that names the file and the reason for anything else: a foreign global, a truncated or
    damaged stream, a size that the file does not hold.
    """
    with open(path, "rb") as stream:
        data = stream.read()
    try:
        return _Unpickler(_Bounded(data), path).load()
    except CheckpointError:
        raise
    except Exception as error:  # a hostile stream can raise nearly every type from within the interpreter
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise CheckpointError(path, f"a damaged, truncated or hostile pickle: {reason}") from None
