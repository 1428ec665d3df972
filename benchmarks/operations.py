"""What a call asks of the machine: every torch operation in it, with its arithmetic and the bytes that it touches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

RANGE = "operation "  # the profiler's ranges are named "operation 0", "operation 1", ...


def _separable(x: Tensor, depthwise: Tensor, pointwise: Tensor, *_: Any, out_val: Tensor) -> float:
    outputs = pointwise.shape[0]
    return _separable_at(out_val.numel() / outputs, depthwise, pointwise)


def _separable_at(pixels: float, depthwise: Tensor, pointwise: Tensor) -> float:
    outputs, inputs = pointwise.shape[:2]
    return 2.0 * pixels * inputs * (outputs + depthwise[0].numel())


def _block(x: Tensor, *rest: Any, out_val: Tensor) -> float:
    pixels = 4.0 * x.numel() / x.shape[1]  # of both convolutions, behind the wavelet transform
    image_weight = rest[10]
    image = 0.0 if image_weight is None else 2.0 * pixels * image_weight.numel()
    return _separable_at(pixels, *rest[:2]) + _separable_at(pixels, *rest[5:7]) + image


# Operations of ours that multiply matrices or convolve: arguments, then the result -> operations.
# Everything else that is not in torch's own table moves memory, and its few operations an element do not count.
OUR_PRODUCTS: dict[str, Callable[..., float]] = {
    "deltafast::activated_depthwise": lambda u, taps, *_, out_val: 2.0 * out_val.numel() * taps[0].numel(),
    "deltafast::epilogue_to_rgb": lambda x, *_, out_val: 2.0 * x.numel() * out_val[1].shape[1],
    "deltafast::modulated_conv3x3": lambda x, packed, outputs, *_, out_val: 18.0 * x.numel() * outputs,
    "deltafast::separable_conv": _separable,
    "deltafast::to_rgb": lambda x, *_, out_val: 2.0 * x.numel() * out_val.shape[1],
    "deltafast::wavelet_block": _block,
    "deltafast::wavelet_image": lambda x, weight, *_, out_val: 2.0 * x.numel() * weight.shape[0],
}


@dataclass(frozen=True)
class Operation:
    """One operation as it was called: `operations` of matrix products and convolutions, bytes read and written."""

    name: str
    shapes: str
    operations: float
    bytes: float


class OperationRecorder(TorchDispatchMode):
    """Notes every operation that runs under it and marks it for the profiler; views, which do nothing, are left out.

    The bytes are those of the tensors that go in and come out, each once: the least that the operation can move.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func.is_view:
            return func(*args, **kwargs)
        with record_function(f"{RANGE}{len(self.operations)}"):
            result = func(*args, **kwargs)
        self.operations.append(_describe(func, args, kwargs, result))
        return result


def _describe(func: Any, args: Any, kwargs: dict[str, Any], result: Any) -> Operation:
    name = func._schema.name
    read = {id(tensor): tensor for tensor in _tensors((args, kwargs))}
    written = {id(tensor): tensor for tensor in _tensors(result)}
    shapes = ", ".join("x".join(map(str, tensor.shape)) or "1" for tensor in read.values())
    counted = 0.0
    if func._overloadpacket in flop_registry:
        counted = float(flop_registry[func._overloadpacket](*args, **kwargs, out_val=result))
    elif name in OUR_PRODUCTS:
        counted = float(OUR_PRODUCTS[name](*args, **kwargs, out_val=result))
    moved = float(sum(map(_bytes, read.values())) + sum(map(_bytes, written.values())))
    return Operation(name, shapes, counted, moved)


def _tensors(values: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


def _bytes(tensor: Tensor) -> int:
    whole = tensor.untyped_storage().nbytes()  # an expanded tensor holds less than its shape says
    return min(tensor.nbytes, whole)


def record_operations(call: Callable[[], object]) -> list[Operation]:
    """Return the operations of one `call()`, in order."""
    recorder = OperationRecorder()
    with torch.inference_mode(False), torch.no_grad(), recorder:
        call()
    return recorder.operations
