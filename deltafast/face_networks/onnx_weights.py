"""The named weights inside an ONNX file.

Reads the few Protocol Buffer fields that are needed (onnx.proto: ModelProto, GraphProto, TensorProto) and nothing
else: no ONNX package is needed, and nothing in the file is executed. Written here because the onnx package and its
compiled protobuf would be a dependency of everybody's for one list of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.errors import CheckpointError

__all__ = ["dequantised", "read_onnx_weights"]

_GRAPH, _INITIALIZER = 7, 5  # fields of ModelProto and GraphProto
_DIMS, _TYPE, _FLOATS, _NAME, _RAW = 1, 2, 4, 8, 9  # fields of TensorProto
_DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 3: np.dtype("i1"), 7: np.dtype("<i8")}


def read_onnx_weights(content: bytes, name: str) -> dict[str, NDArray[Any]]:
    """Return the initial values of the graph in `content`, the bytes of an .onnx file, by name.

    `name` stands in messages. Raises `CheckpointError` for bytes that are no such file or hold another type of
    number than float32, int8 and int64.
    """
    try:
        weights = {}
        for field, graph in _fields(memoryview(content)):
            if field == _GRAPH:
                for inner, tensor in _fields(graph):
                    if inner == _INITIALIZER:
                        label, array = _tensor(tensor)
                        weights[label] = array
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(name, f"not an ONNX file, or a damaged one: {error!r}") from error
    if not weights:
        raise CheckpointError(name, "not an ONNX file, or one without weights")
    return weights


def dequantised(stored: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.float64]:
    """Return float64 values of the int8 weights `name`, each block of whose last axis has a scale and a zero point.

    `stored` is what `read_onnx_weights` returned. Raises `KeyError` where it has no such weights.
    """
    integers, scales, zeros = (stored[f"{name}_{part}"] for part in ("quantized", "scales", "zero_point"))
    block = integers.shape[-1] // scales.shape[-1]
    scale = np.repeat(scales.astype(np.float64), block, axis=-1)
    result: NDArray[np.float64] = (integers.astype(np.float64) - np.repeat(zeros, block, axis=-1)) * scale
    return result


def _tensor(message: memoryview) -> tuple[str, NDArray[Any]]:
    shape: list[int] = []
    label, kind, data = "", 0, b""
    for field, value in _fields(message):
        if field == _DIMS:
            shape += [value] if isinstance(value, int) else _integers(value)
        elif field == _TYPE:
            kind = value
        elif field == _NAME:
            label = bytes(value).decode()
        elif field in (_FLOATS, _RAW):
            data += bytes(value)
    return label, np.frombuffer(data, _DTYPES[kind]).reshape(shape)


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Every field's number and value: an integer, or the bytes of anything else."""
    position = 0
    while position < len(message):
        key, position = _integer(message, position)
        wire = key & 7
        if wire == 0:
            value, position = _integer(message, position)
            yield key >> 3, value
            continue
        if wire == 2:
            size, position = _integer(message, position)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"unknown wire type {wire}")
        if position + size > len(message):
            raise ValueError("a field ends behind the file's end")
        yield key >> 3, message[position : position + size]
        position += size


def _integer(message: memoryview, position: int) -> tuple[int, int]:
    """A variable-length integer, and where it ends."""
    value, shift = 0, 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
        if shift > 63:
            raise ValueError("an integer of more than 64 bits")


def _integers(packed: memoryview) -> list[int]:
    values, position = [], 0
    while position < len(packed):
        value, position = _integer(packed, position)
        values.append(value)
    return values
