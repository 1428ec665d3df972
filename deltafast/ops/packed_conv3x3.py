"""A convolution's weight as the CPU kernel reads it, made again whenever the weight's bits are others."""

from __future__ import annotations

from typing import Any

import torch

from deltafast.ops._register import register
from deltafast.ops.modulated_conv2d import pack_conv3x3

__all__ = ["PackedConv3x3"]


class PackedConv3x3:
    """Keeps what `pack_conv3x3` makes of a weight, and the sums of its squares, for as long as they are right.

    `of(weight)` compares the whole weight, bit for bit, with a copy of the one that was packed last: weights change in
    ways that torch does not count (through `.data`, as averages of weights are written; behind a compiled graph). It
    reads the weight and the copy once, a fraction of what packing writes. Under torch.compile the comparison is part
    of the graph. Copies and pickles of it begin empty.
    """

    def __init__(self, *, up: int = 1) -> None:
        self._up = up
        self._made: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None  # source, packed, squares

    def of(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `pack_conv3x3` makes of `weight`, and `weight.square().sum((2, 3))`; without gradient.

        `weight` is float32 `[O, C, 3, 3]` on the CPU. Both results are good until the next call.
        """
        weight = weight.detach()
        made = self._made
        if made is None or made[0].shape != weight.shape or made[0].stride() != weight.stride():
            if torch.compiler.is_compiling() or weight.device.type != "cpu":
                return pack_conv3x3(weight, up=self._up), weight.square().sum((2, 3))
            self._made = made = self._begun(weight)
        source, packed, squares = made
        torch.ops.deltafast.refresh_conv3x3(weight, source, packed, squares, self._up == 2)
        return packed, squares

    def _begun(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Memory for all three, with a source that differs from `weight` in every number."""
        with torch.inference_mode(False):
            shape = torch.ops.deltafast.pack_conv3x3(weight.to("meta"), self._up == 2).shape
            packed, squares = weight.new_empty(shape), weight.new_empty(weight.shape[:2])
            return torch.empty_like(weight).copy_(-weight), packed, squares

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedConv3x3:
        return PackedConv3x3(up=self._up)

    def __reduce__(self) -> tuple[Any, ...]:
        return _empty, (self._up,)


def _empty(up: int) -> PackedConv3x3:
    return PackedConv3x3(up=up)


def _fake_refresh(*_: Any) -> None:
    return None


register("refresh_conv3x3", fake=_fake_refresh)
