"""The weights inside a TensorFlow Lite file, in the order in which its graph uses them.

Reads the few FlatBuffer tables that are needed (schema version 3, tensorflow/lite/schema/schema.fbs) and nothing
else: no TensorFlow is needed, and nothing in the file is executed. Written here because the packages that read such
files bring a whole interpreter for what is one table of weights.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import CheckpointError

__all__ = ["TfliteOperator", "read_tflite_operators"]

_IDENTIFIER = b"TFL3"
_DEQUANTIZE = 6
_KINDS = {
    0: "add",
    1: "average_pool_2d",
    3: "conv_2d",
    4: "depthwise_conv_2d",
    14: "logistic",
    17: "max_pool_2d",
    18: "mul",
    19: "relu",
    22: "reshape",
    23: "resize_bilinear",
    32: "custom",
    34: "pad",
    54: "prelu",
    117: "hard_swish",
}
_DTYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 2: np.dtype("<i4")}


@dataclass(frozen=True)
class TfliteOperator:
    """One operator of the graph: its `kind` in lower case and its constant inputs in order, floats as fp32."""

    kind: str
    constants: tuple[NDArray[Any], ...]


def read_tflite_operators(content: bytes, name: str) -> list[TfliteOperator]:
    """Return the operators of the first graph in `content`, the bytes of a .tflite file, in order of execution.

    Half-precision constants that the graph widens first (`DEQUANTIZE`) are given widened; that operator is left out.
    `name` stands in messages. Raises `CheckpointError` for bytes that are no such file or hold another operator or
    type of number than the face networks have.
    """
    if content[4:8] != _IDENTIFIER:
        raise CheckpointError(name, "not a TensorFlow Lite file of schema version 3")
    try:
        return _operators(content, name)
    except (struct.error, IndexError, ValueError) as error:
        raise CheckpointError(name, f"damaged TensorFlow Lite file: {error}") from error


def _operators(content: bytes, name: str) -> list[TfliteOperator]:
    model = _Table(content, _unsigned(content, 0))
    codes = [max(code.byte(0), code.integer(3)) for code in model.tables(1)]
    graph = model.tables(2)[0]
    buffers = model.tables(4)
    constants: dict[int, NDArray[Any]] = {}
    for index, tensor in enumerate(graph.tables(0)):
        data = buffers[tensor.integer(2)].bytes(0)
        if data:
            dtype = _DTYPES.get(tensor.byte(1))
            if dtype is None:
                raise CheckpointError(name, f"tensor {index} has numbers of the unsupported type {tensor.byte(1)}")
            constants[index] = np.frombuffer(data, dtype).reshape(tensor.integers(0))
    operators = []
    for operator in graph.tables(3):
        code, inputs = codes[operator.integer(0)], operator.integers(1)
        known = tuple(constants[i] for i in inputs if i in constants)
        if code == _DEQUANTIZE:
            constants[operator.integers(2)[0]] = known[0].astype(np.float32)
        elif code in _KINDS:
            operators.append(TfliteOperator(_KINDS[code], known))
        else:
            raise CheckpointError(name, f"the graph holds the unsupported operator {code}")
    return operators


class _Table:
    """A FlatBuffer table: fields by number, zero or empty where the file leaves them out."""

    def __init__(self, content: bytes, position: int) -> None:
        self._content = content
        self._position = position
        self._vtable = position - struct.unpack_from("<i", content, position)[0]
        self._fields = (struct.unpack_from("<H", content, self._vtable)[0] - 4) // 2

    def byte(self, field: int) -> int:
        at = self._at(field)
        return self._content[at] if at else 0

    def integer(self, field: int) -> int:
        at = self._at(field)
        return _unsigned(self._content, at) if at else 0

    def integers(self, field: int) -> list[int]:
        start, count = self._vector(field)
        return list(struct.unpack_from(f"<{count}i", self._content, start))

    def bytes(self, field: int) -> bytes:
        start, count = self._vector(field)
        if start + count > len(self._content):
            raise ValueError("a vector ends behind the file's end")
        return self._content[start : start + count]

    def tables(self, field: int) -> list[_Table]:
        start, count = self._vector(field)
        positions = [start + 4 * k for k in range(count)]
        return [_Table(self._content, position + _unsigned(self._content, position)) for position in positions]

    def _vector(self, field: int) -> tuple[int, int]:
        """Where a vector's elements begin, and how many there are."""
        at = self._at(field)
        if not at:
            return 0, 0
        start = at + _unsigned(self._content, at)
        return start + 4, _unsigned(self._content, start)

    def _at(self, field: int) -> int:
        if field >= self._fields:
            return 0
        offset: int = struct.unpack_from("<H", self._content, self._vtable + 4 + 2 * field)[0]
        return self._position + offset if offset else 0


def _unsigned(content: bytes, position: int) -> int:
    value: int = struct.unpack_from("<I", content, position)[0]
    return value
