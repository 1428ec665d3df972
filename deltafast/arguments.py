"""What the public functions are given: tensors of usable kinds, devices that are there, generators that are loaded."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from deltafast.errors import InvalidInputError

__all__ = [
    "PlacedModule",
    "check_count",
    "check_device",
    "check_floating",
    "check_generator",
    "check_not_negative",
    "check_seed",
    "slots_of",
    "tensor_of_array",
]

if TYPE_CHECKING:
    from typing_extensions import Self

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def check_floating(tensor: Any, what: str) -> None:
    """Raise `InvalidInputError` unless `tensor` is a dense tensor of float64, float32, float16 or bfloat16 with values.

    Refused by name are sparse and nested tensors, those on the meta device, 8-bit floats, complex and whole numbers.
    """
    if not isinstance(tensor, Tensor):
        raise InvalidInputError(f"{what} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.dtype not in _FLOATS:
        advice = "" if tensor.is_complex() else "; convert by .float()"
        raise InvalidInputError(
            f"{what} must be floating point (float64, float32, float16 or bfloat16), got {tensor.dtype} "
            f"{list(tensor.shape)}{advice}"
        )
    if tensor.layout != torch.strided:
        raise InvalidInputError(f"{what} must be dense, got a tensor of layout {tensor.layout}; give .to_dense()")
    if tensor.device.type == "meta":
        raise InvalidInputError(f"{what} must hold values; a tensor on the meta device has none")


def tensor_of_array(array: Any, what: str) -> Tensor:
    """Return a floating-point numpy array as a tensor of its own, whatever its byte order and strides.

    Raises `InvalidInputError` for what torch has no dtype for.
    """
    values = np.asarray(array)
    if values.dtype.kind != "f" or values.dtype.itemsize > 8:
        raise InvalidInputError(f"{what} must be float16, float32 or float64, got {values.dtype} {list(values.shape)}")
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("="), order="C"))


def check_device(device: Any, what: str = "device") -> torch.device:
    """Return a device that this machine has. Raises `InvalidInputError` where it is no device, or is not there."""
    try:
        found = torch.device(device)
        if found.type == "meta":
            raise ValueError("it holds no values")
        torch.empty(0, device=found)
    except (RuntimeError, TypeError, ValueError, AssertionError, NotImplementedError) as error:
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise InvalidInputError(
            f"{what} {device!r} is none that can be used here ({reason}); give one such as cpu or cuda:0"
        ) from error
    return found


def check_count(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raise `InvalidInputError` unless `value` is a whole number, no boolean, from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidInputError(f"{name} must be a whole number {limits}, got {value!r}")


def check_seed(value: Any, name: str = "seed") -> None:
    """Raise `InvalidInputError` unless `value` is a seed that torch takes, 0 to 2^63 - 1."""
    check_count(name, value, 0, 2**63 - 1)


def check_not_negative(name: str, value: Any) -> None:
    """Raise `InvalidInputError` unless `value` is a finite number of at least 0."""
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise InvalidInputError(f"{name} must be a finite number that is not negative, got {value!r}")


class PlacedModule(nn.Module):
    """A module whose `to` and `cuda` refuse, by an error of ours, what it cannot be moved to or become."""

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As `torch.nn.Module.to`. Raises `InvalidInputError` for a device that is not there, or another dtype than
        float64, float32, float16 and bfloat16.
        """
        named = (kwargs.get(name) for name in ("device", "dtype", "tensor"))
        for given in (*args[:2], *named):
            if isinstance(given, Tensor):
                check_floating(given, "the tensor to follow")
            elif isinstance(given, torch.dtype) and given not in _FLOATS:
                raise InvalidInputError(f"dtype must be float64, float32, float16 or bfloat16, got {given}")
            elif isinstance(given, (str, int, torch.device)) and not isinstance(given, bool):
                _check_place(given)
        return super().to(*args, **kwargs)

    def cuda(self, device: torch.device | int | None = None) -> Self:
        """As `torch.nn.Module.cuda`. Raises `InvalidInputError` where there is no such GPU."""
        _check_place("cuda" if device is None else device)
        return super().cuda(device)


def _check_place(device: Any) -> None:
    """Raise `InvalidInputError` for a device that is not there; shapes alone, on the meta device, are."""
    if str(device) != "meta":
        check_device(device)


def check_generator(generator: Any) -> None:
    """Raise `InvalidInputError` unless `generator` is one: not its name or path, a module alone, or a class."""
    if isinstance(generator, (str, os.PathLike)):
        raise InvalidInputError(f"expected a generator, got {generator!r}: load it with deltafast.load_generator first")
    if isinstance(generator, type) or not all(hasattr(generator, name) for name in ("fingerprint", "num_ws", "w_dim")):
        kind = generator.__name__ if isinstance(generator, type) else type(generator).__name__
        raise InvalidInputError(f"expected a generator as deltafast.load_generator gives it, got {kind}")


def slots_of(slots: Any, num_ws: int) -> tuple[int, ...]:
    """Return W+ slots sorted, each once, of their numbers (0 .. num_ws - 1) or of a boolean mask of length num_ws.

    Raises `InvalidInputError` for anything else: a mask of another length, booleans among numbers, fractions, text.
    """
    expected = f"W+ slots are whole numbers from 0 to {num_ws - 1}, or a mask of {num_ws} booleans"
    if isinstance(slots, (str, bytes)):
        raise InvalidInputError(f"{expected}; got the text {slots[:40]!r}")
    if isinstance(slots, (Tensor, np.ndarray)):
        slots = slots.tolist()
    try:
        given = list(slots) if isinstance(slots, Iterable) else [slots]
    except (TypeError, RuntimeError) as error:
        raise InvalidInputError(f"{expected}; got a {type(slots).__name__}") from error
    given = [value.item() if isinstance(value, (Tensor, np.generic)) and value.ndim == 0 else value for value in given]
    if any(isinstance(value, bool) for value in given):
        if len(given) != num_ws or not all(isinstance(value, bool) for value in given):
            raise InvalidInputError(f"{expected}; got {len(given)} values with booleans among them")
        return tuple(slot for slot, chosen in enumerate(given) if chosen)
    numbers = [value for value in given if isinstance(value, int) or hasattr(value, "__index__")]
    if len(numbers) != len(given):
        raise InvalidInputError(f"{expected}; got {given[:8]!r}")
    values = sorted({int(value) for value in numbers})
    if values and (values[0] < 0 or values[-1] >= num_ws):
        raise InvalidInputError(f"W+ slots of this latent space are 0 to {num_ws - 1}, got {values[:40]}")
    return tuple(values)
