"""A convolution's weight as the CPU kernel reads it, made again whenever the weight's bits are others."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from deltafast.ops._register import register
from deltafast.ops.modulated_conv2d import pack_conv3x3

__all__ = ["PackedConv3x3"]


class _Made(NamedTuple):
    """Of a weight of `shape` `[O, C, 3, 3]`: its checksum `[1]`, its packed form, and the sums of its squares."""

    shape: torch.Size
    checksum: torch.Tensor
    packed: torch.Tensor
    squares: torch.Tensor


class PackedConv3x3:
    """Keeps what `pack_conv3x3` makes of a weight, and the sums of its squares, for as long as they are right.

    `of(weight)` takes a 64-bit checksum of the whole weight and compares it with that of the one that was packed last:
    weights change in ways that torch does not count (through `.data`, as averages of weights are written; behind a
    compiled graph). It reads the weight once. Under torch.compile this is part of the graph. Copies and pickles of it
    begin empty.
    """

    def __init__(self, *, up: int = 1) -> None:
        self._up = up
        self._made: _Made | None = None

    def of(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `pack_conv3x3` makes of `weight`, and `weight.square().sum((2, 3))`; without gradient.

        `weight` is float32 `[O, C, 3, 3]` on the CPU. Both results are good until the next call.
        """
        weight = weight.detach()
        made = self._made
        if made is None or made.shape != weight.shape:
            if torch.compiler.is_compiling() or weight.device.type != "cpu":
                return pack_conv3x3(weight, up=self._up), weight.square().sum((2, 3))
            self._made = made = self._begun(weight)
        torch.ops.deltafast.refresh_conv3x3(weight, made.checksum, made.packed, made.squares, self._up == 2)
        return made.packed, made.squares

    def _begun(self, weight: torch.Tensor) -> _Made:
        """Memory for what is kept, with a checksum of nothing."""
        with torch.inference_mode(False):
            shape = torch.ops.deltafast.pack_conv3x3(weight.to("meta"), self._up == 2).shape
            checksum = torch.zeros(1, dtype=torch.int64)
            return _Made(weight.shape, checksum, weight.new_empty(shape), weight.new_empty(weight.shape[:2]))

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedConv3x3:
        return PackedConv3x3(up=self._up)

    def __reduce__(self) -> tuple[Any, ...]:
        return _empty, (self._up,)


def _empty(up: int) -> PackedConv3x3:
    return PackedConv3x3(up=up)


def _fake_refresh(*_: Any) -> None:
    return None


register("refresh_conv3x3", fake=_fake_refresh)
