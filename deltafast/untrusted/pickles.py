"""A pickle reader that builds tensors, numpy arrays, plain containers and inert records, and nothing else.

Every global that a pickle may name maps to a function of this file, or to a name of which instances become `Record`s:
nothing is imported, looked up or called by name, and no source code that a file carries is looked at. The
interpreter is the pure Python one of the standard library, because its memo cannot be made to allocate memory by a
large index. Written here because pickle itself executes what a file asks for, and torch's restricted reader refuses
whole files for one object that nobody needs.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, ClassVar

from deltafast.untrusted.bounded import Bounded, Budget
from deltafast.untrusted.checks import UnreadableError
from deltafast.untrusted.pickled_values import KnownFunction, Record, RecordClass, Settable, hashable, known_value

__all__ = ["read_pickle"]

_MAX_NAME = 120
_ITEM = 64  # bytes of an item in a container, about


def read_pickle(
    stream: Bounded,
    *,
    budget: Budget,
    storage: Callable[[Any], Any] | None = None,
    storage_from_bytes: Callable[[bytes], Any] | None = None,
    foreign: dict[str, None] | None = None,
) -> Any:
    """Read one pickle: containers, tensors, arrays, and a `Record` for every other object.

    `budget`, the whole file's, bounds what is made of parts of the pickle that it names again and again.
    `storage` makes a `Storage` of a persistent id of torch's, `storage_from_bytes` of what
    `torch.storage._load_from_bytes` would take; where they are None there are none. `foreign` collects the names of
    objects that are none of a checkpoint's. Raises errors of nearly every type; see `reading`.
    """
    names: dict[str, None] = {} if foreign is None else foreign
    return _Unpickler(stream, budget, storage, storage_from_bytes, names).load()


_PurePython: Any = vars(pickle)["_Unpickler"]
_CLOSED = (pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.INST, pickle.OBJ)


class _Unpickler(_PurePython):  # type: ignore[misc]
    """The standard interpreter with every way out of it closed."""

    dispatch: ClassVar[dict[int, Any]] = {
        code: method for code, method in _PurePython.dispatch.items() if code not in {op[0] for op in _CLOSED}
    }

    def __init__(
        self,
        stream: Bounded,
        budget: Budget,
        storage: Callable[[Any], Any] | None,
        storage_from_bytes: Callable[[bytes], Any] | None,
        foreign: dict[str, None],
    ) -> None:
        super().__init__(stream, encoding="latin1")
        self._budget = budget
        self._storage = storage
        self._storage_from_bytes = storage_from_bytes
        self._foreign = foreign

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes") and self._storage_from_bytes is not None:
            return KnownFunction(self._storage_from_bytes)
        known = known_value(module, name)
        if known is not None:
            return known
        full = "".join(c if c.isprintable() else "?" for c in f"{module}.{name}"[:_MAX_NAME])
        self._foreign[full] = None
        return RecordClass(full, foreign=True)

    def persistent_load(self, pid: Any) -> Any:
        if self._storage is None:
            raise UnreadableError("a reference to what is not in the pickle")
        return self._storage(pid)

    def get_extension(self, code: int) -> None:
        raise UnreadableError("an extension code")

    def load_newobj(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = _called(self.stack[-1], args, self._budget)

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        self.load_newobj()

    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex

    def load_reduce(self) -> None:
        self.load_newobj()

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Settable):
            if isinstance(state, tuple):
                self._budget.spend(_cost(state))
            target.set_state(state)
        elif not isinstance(target, (dict, list, set, str)):  # attributes beside the items of a container: of no use
            raise UnreadableError("a state for what can have none")

    dispatch[pickle.BUILD[0]] = load_build

    def load_bytearray8(self) -> None:
        """Read a bytearray as bytes; the base class allocates what is claimed before it reads."""
        self.append(self.read(int.from_bytes(self.read(8), "little")))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    # The base class fills whatever has fitting methods, tensors too; here only lists, dicts, sets and records are.

    def load_append(self) -> None:
        value = self.stack.pop()
        _extend(self.stack[-1], [value])

    dispatch[pickle.APPEND[0]] = load_append

    def load_appends(self) -> None:
        items = self.pop_mark()
        _extend(self.stack[-1], items)

    dispatch[pickle.APPENDS[0]] = load_appends

    def load_setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        _set_items(self.stack[-1], [key, value])

    dispatch[pickle.SETITEM[0]] = load_setitem

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _set_items(self.stack[-1], items)

    dispatch[pickle.SETITEMS[0]] = load_setitems

    def load_additems(self) -> None:
        items = self.pop_mark()
        target = self.stack[-1]
        if not isinstance(target, set):
            raise UnreadableError(f"items for a {type(target).__name__}, expected a set")
        target.update(hashable(item) for item in items)

    dispatch[pickle.ADDITEMS[0]] = load_additems

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({hashable(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    dispatch[pickle.DICT[0]] = load_dict

    def load_frozenset(self) -> None:
        self.append(frozenset(hashable(item) for item in self.pop_mark()))

    dispatch[pickle.FROZENSET[0]] = load_frozenset


def _cost(arguments: tuple[Any, ...]) -> int:
    """About how many bytes a call makes, at most, of its arguments: copies of text, bytes and containers."""
    return sum(
        len(argument) * (1 if isinstance(argument, (str, bytes)) else _ITEM)
        for argument in arguments
        if isinstance(argument, (str, bytes, tuple, list, dict, set, frozenset))
    )


def _called(function: Any, args: Any, budget: Budget) -> Any:
    if not isinstance(args, tuple):
        raise UnreadableError("a call without arguments")
    if isinstance(function, RecordClass):
        return Record(function.name, foreign=function.foreign, arguments=args)
    if isinstance(function, Record):  # what an unknown function would have given
        return Record(function.class_name, foreign=True, arguments=args)
    if not isinstance(function, KnownFunction):
        raise UnreadableError("a call of what is no known function")
    budget.spend(_cost(args))
    return function(*args)


def _extend(target: Any, items: list[Any]) -> None:
    if isinstance(target, Record):  # a list of a class of its own
        target.items.extend(items)
    elif isinstance(target, list):
        target.extend(items)
    else:
        raise UnreadableError(f"items for a {type(target).__name__}, expected a list")


def _set_items(target: Any, items: list[Any]) -> None:
    if isinstance(target, Record):  # a dict of a class of its own
        target.items.extend(items)
        return
    if not isinstance(target, dict):
        raise UnreadableError(f"items for a {type(target).__name__}, expected a dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[hashable(key)] = value
