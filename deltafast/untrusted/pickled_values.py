"""What the names in a pickle stand for: functions of ours that build plain values, and records for all else."""

from __future__ import annotations

import collections
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.untrusted.checks import UnreadableError, check_growth, shown

__all__ = [
    "KnownFunction",
    "PickledArray",
    "Record",
    "RecordClass",
    "Settable",
    "Storage",
    "foreign_name",
    "hashable",
    "known_value",
]

_NUMPY_CODES = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}
_MAX_NAME = 120
_MAX_KEY_ITEMS = 16
_MAX_PATH = 4096  # characters, as systems have it


class Settable(ABC):
    """A value whose state may arrive after it was made."""

    @abstractmethod
    def set_state(self, state: Any) -> None:
        """Take the state."""


class Record(Settable):
    """An object of a file as plain data: the name of its class, its attributes, and what filled it as a container.

    `foreign` where the class is none that checkpoints are known to hold; `arguments` are those of its creation.
    """

    __slots__ = ("arguments", "class_name", "foreign", "items", "state")

    def __init__(self, class_name: str, *, foreign: bool = False, arguments: tuple[Any, ...] = ()) -> None:
        self.class_name = class_name
        self.foreign = foreign
        self.arguments = arguments
        self.state: dict[Any, Any] = {}
        self.items: list[Any] = []

    def __repr__(self) -> str:
        return f"Record({self.class_name!r})"

    def set_state(self, state: Any) -> None:
        """Take the attributes; what else a foreign object has for a state is kept among its `items`."""
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):  # one with slots
            state = {**(state[0] or {}), **state[1]} if isinstance(state[0], (dict, type(None))) else None
        if isinstance(state, dict):
            self.state = state
        elif self.foreign:
            self.items.append(state)
        else:
            raise UnreadableError(f"the state of a {self.class_name} is no dict")


class RecordClass:
    """A class that a file names; instances become records. It has no attributes that a pickle could overwrite."""

    __slots__ = ("_foreign", "_name")

    def __init__(self, name: str, *, foreign: bool) -> None:
        self._name = name
        self._foreign = foreign

    @property
    def name(self) -> str:
        """The dotted name, printable."""
        return self._name

    @property
    def foreign(self) -> bool:
        """Whether checkpoints are not known to hold such objects."""
        return self._foreign


class KnownFunction:
    """What a global stands for; unlike a function or class it has no attributes that a pickle could overwrite."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)


def hashable(value: Any) -> Any:
    """Return a dict key or set item where it is hashed at once; nested tuples can be made to take for ever."""
    if isinstance(value, tuple) and len(value) <= _MAX_KEY_ITEMS:
        for item in value:
            if isinstance(item, tuple):
                raise UnreadableError("a tuple of tuples as key of a dict or item of a set")
            hashable(item)
    elif not isinstance(value, (str, bytes, int, float, type(None), Record, RecordClass)):
        raise UnreadableError(f"a {type(value).__name__} as key of a dict or item of a set")
    return value


class Storage:
    """The memory of tensors: `flat` is one-dimensional, of the storage's dtype."""

    __slots__ = ("flat",)

    def __init__(self, flat: Tensor) -> None:
        self.flat = flat


class _Dtype(Settable):
    """A numpy dtype being unpickled: its code (None where it is none of plain numbers), then its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: Any, *_: Any) -> None:
        self.code: str | None = code if isinstance(code, str) and code in _NUMPY_CODES else None
        self.order = "="

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise UnreadableError("a numpy dtype of unknown byte order")
        self.order = state[1]

    def plain(self) -> np.dtype[Any] | None:
        return None if self.code is None else np.dtype(self.order + self.code)


class PickledArray(Settable):
    """A numpy array: `values` once its state arrived, None before, and always where it holds no plain numbers."""

    __slots__ = ("values",)

    def __init__(self, *_: Any) -> None:
        self.values: NDArray[Any] | None = None

    def set_state(self, state: Any) -> None:
        """Take version, shape, dtype, order and bytes."""
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype):
            raise UnreadableError("a numpy array without a dtype")
        plain = dtype.plain()
        if plain is None or not isinstance(data, bytes):
            return  # text, times or objects: of no use here
        flat = np.frombuffer(data, plain)  # [n]
        self.values = flat.reshape(tuple(shape), order="F" if fortran else "C")  # fails where the sizes differ


def _array_from_buffer(data: Any, dtype: Any, shape: Any, order: Any, *_: Any) -> PickledArray:
    """An array as pickle protocol 5 writes it."""
    array = PickledArray()
    array.set_state((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: Any, data: Any = b"") -> Any:
    plain = dtype.plain() if isinstance(dtype, _Dtype) else None
    if plain is None:
        return Record("numpy scalar")
    if not isinstance(data, bytes) or len(data) != plain.itemsize:
        raise UnreadableError("a numpy scalar of the wrong size")
    return np.frombuffer(data, plain)[0].item()


def _persistent_object(meta: Any, *_: Any) -> Record:
    """An object of stylegan2-ada or stylegan3; the Python source beside its state is not looked at."""
    if not isinstance(meta, dict) or meta.get("type") != "class":
        raise UnreadableError("a persistent object of unknown kind")
    state, name = meta.get("state"), meta.get("class_name")
    record = Record(name[:_MAX_NAME] if isinstance(name, str) and name.isprintable() else "")
    record.set_state(state if state is not None else {})
    return record


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor:
    """A view of a storage, refused where it reaches beyond it or claims many times what it holds."""
    if not isinstance(storage, Storage):
        raise UnreadableError("a tensor whose storage is no storage")
    whole = storage.flat
    size, stride = tuple(size), tuple(stride)
    if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise UnreadableError("a tensor of impossible shape")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and last >= whole.numel():
        raise UnreadableError(f"a tensor {_shown_sizes(size)} larger than its storage of {whole.numel()} values")
    held = whole.numel() * whole.element_size()
    check_growth(count * whole.element_size(), held, f"a tensor {_shown_sizes(size)}")
    return whole.as_strided(size, stride, offset)


def _shown_sizes(sizes: tuple[int, ...]) -> str:
    return "[" + ", ".join(shown(n) for n in sizes[:8]) + "]"


def _parameter(data: Any, *_: Any) -> Tensor:
    if not isinstance(data, Tensor):
        raise UnreadableError("a parameter that is no tensor")
    return data


def _tensor_with_attributes(function: Any, _kind: Any, args: Any, *_: Any) -> Any:
    """A tensor of a subclass, or with attributes of its own: the tensor alone."""
    if not isinstance(function, KnownFunction) or not isinstance(args, tuple):
        raise UnreadableError("a tensor that is made by no known function")
    made = function(*args)
    if not isinstance(made, Tensor):
        raise UnreadableError("a tensor that is none")
    return made


def _ordered_dict(items: Any = (), *_: Any) -> collections.OrderedDict[Any, Any]:
    if not isinstance(items, (list, tuple)):
        raise UnreadableError("an OrderedDict of what is no list")
    return collections.OrderedDict((hashable(key), value) for key, value in items)


def _new_dict(*_: Any) -> dict[Any, Any]:
    return {}


def _latin1(text: Any, encoding: Any) -> bytes:
    """Bytes as protocols 0 to 2 write them."""
    if not isinstance(text, str) or encoding != "latin1":
        raise UnreadableError("an encoding that is not known")
    return text.encode("latin1")


def _set(items: Any = ()) -> set[Any]:
    if not isinstance(items, list) and items != ():
        raise UnreadableError("a set that is made of no list")
    return {hashable(item) for item in items}


def _sizes(sizes: Any = ()) -> tuple[Any, ...]:
    if not isinstance(sizes, tuple):
        raise UnreadableError("a torch.Size that is no tuple")
    return sizes


def _path(*parts: Any) -> str:
    if not all(isinstance(part, str) for part in parts):
        raise UnreadableError("a path that is no text")
    if sum(map(len, parts)) + len(parts) > _MAX_PATH:
        raise UnreadableError(f"a path of more than {_MAX_PATH} characters")
    return "/".join(parts)


def _new_object(kind: Any, *_: Any) -> Any:
    """An object as protocols 0 and 1 make it: by its class."""
    return Record(kind.name, foreign=kind.foreign) if isinstance(kind, RecordClass) else _new_dict()


_DTYPES = {
    name: getattr(torch, name)
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
}
_DTYPES |= {"complex64": torch.complex64, "complex128": torch.complex128}
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
_PATHS = ("PurePath", "PurePosixPath", "PureWindowsPath", "Path", "PosixPath", "WindowsPath")
_TYPES = ("object", "int", "float", "bool", "str", "bytes", "list", "tuple", "dict", "complex")
_BUILTINS = tuple((module, name) for module in ("builtins", "__builtin__") for name in _TYPES)
_HARMLESS = (("argparse", "Namespace"), ("types", "SimpleNamespace"), ("torch", "device"))
_TF_NETWORK = ("dnnlib.tflib.network", "Network")  # the networks of StyleGAN2's TensorFlow pickles
_KNOWN: dict[tuple[str, str], Any] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): KnownFunction(_persistent_object),
    ("torch._utils", "_rebuild_tensor_v2"): KnownFunction(_tensor),
    ("torch._utils", "_rebuild_tensor"): KnownFunction(_tensor),
    ("torch._utils", "_rebuild_parameter"): KnownFunction(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): KnownFunction(_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): KnownFunction(_tensor_with_attributes),
    ("torch", "Size"): KnownFunction(_sizes),
    ("collections", "OrderedDict"): KnownFunction(_ordered_dict),
    ("collections", "defaultdict"): KnownFunction(_new_dict),
    **{(module, "EasyDict"): KnownFunction(_new_dict) for module in ("dnnlib.util", "dnnlib", "easydict")},
    ("numpy", "dtype"): KnownFunction(_Dtype),
    ("numpy", "ndarray"): KnownFunction(PickledArray),
    **{
        (f"numpy.{core}.multiarray", name): KnownFunction(function)
        for core in ("core", "_core")
        for name, function in (("_reconstruct", PickledArray), ("scalar", _scalar))
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): KnownFunction(_array_from_buffer) for core in ("core", "_core")},
    **{(module, "set"): KnownFunction(_set) for module in ("builtins", "__builtin__")},
    **{(module, "_reconstructor"): KnownFunction(_new_object) for module in ("copyreg", "copy_reg")},
    ("_codecs", "encode"): KnownFunction(_latin1),
    **{(module, name): KnownFunction(_path) for module in ("pathlib", "pathlib._local") for name in _PATHS},
    **{place: RecordClass(".".join(place), foreign=False) for place in (*_BUILTINS, *_HARMLESS, _TF_NETWORK)},
    **{("torch", name): dtype for name, dtype in _DTYPES.items()},
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
    **{("torch.storage", name): torch.uint8 for name in ("UntypedStorage", "_UntypedStorage")},
}


def foreign_name(value: Any) -> str | None:
    """The name of a foreign object or class, None for anything else."""
    if isinstance(value, Record):
        return value.class_name if value.foreign else None
    return value.name if isinstance(value, RecordClass) and value.foreign else None


def known_value(module: str, name: str) -> Any:
    """What a global that checkpoints are known to name stands for; None for any other."""
    return _KNOWN.get((module, name))
