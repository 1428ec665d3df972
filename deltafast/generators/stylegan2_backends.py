"""The ways in which a block of StyleGAN2 can run, as peers that say what they can; one is chosen for a whole pass."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from deltafast.generators.modulation import ModulatedConv3x3, Modulation, ResidualSkip, ToRGB
from deltafast.ops import Impl, conv_to_rgb, modulated_conv2d, to_rgb, upfirdn2d
from deltafast.ops.by_sample import by_small_sample
from deltafast.ops.devices import takes_cuda_kernels

__all__ = ["Backend", "Block", "Pass", "choose_backend"]


class Block(NamedTuple):
    """The layers of one resolution; the first block has no `conv0`, only some have `torgb` and `skip`."""

    name: str
    conv0: ModulatedConv3x3 | None
    conv1: ModulatedConv3x3
    torgb: ToRGB | None
    skip: ResidualSkip | None


class Pass(NamedTuple):
    """One pass through the blocks: what the choice of a backend, and the backend, go by."""

    blocks: Sequence[Block]
    device: torch.device
    dtype: torch.dtype  # of the convolutions
    noise_mode: str
    taps: Tensor  # [k] or [k, k], the up-sampling filter
    gradients: int  # how often the images will be differentiated: 0, 1, or 2 for any number of times


class Backend(ABC):
    """A way through the blocks; what it keeps is one pass's."""

    impl: Impl = "auto"

    def __init__(self, run: Pass) -> None:
        self.blocks, self.dtype, self.noise_mode, self.taps = run.blocks, run.dtype, run.noise_mode, run.taps
        self.modulations: dict[str, Modulation] = {}

    @classmethod
    @abstractmethod
    def can_run(cls, run: Pass) -> bool:
        """Whether it makes these images, with the gradients that are wanted."""

    @abstractmethod
    def modulate(self, styles: Mapping[str, Tensor]) -> None:
        """Take the styles `[N, C]` of all layers, by name."""

    @abstractmethod
    def begin(self, const: Tensor) -> Tensor:
        """Return the first block's input `[N, C, 4, 4]`."""

    @abstractmethod
    def block(
        self, block: Block, x: Tensor, image: Tensor | None, styles: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Run one block on `x` `[N, C, H, W]`: the next block's input `[N, O, H', W']`, and the image so far."""

    def _convolve(
        self,
        name: str,
        layer: ModulatedConv3x3,
        x: Tensor,
        style: Tensor | None,
        packed: Tensor | None = None,
        next_style: Tensor | None = None,
    ) -> Tensor:
        """A 3x3 convolution with its epilogue; `style` None where x has it already."""
        slope, gain, clamp = layer.activation
        return modulated_conv2d(
            x,
            layer.weight.to(self.dtype),
            style,
            self.modulations[name].demod,
            *layer.constants.noise(self.noise_mode, x.shape[0]),
            layer.constants.bias,
            up=2 if layer.up else 1,
            f=self.taps if layer.up else None,
            packed=packed,
            next_style=next_style,
            negative_slope=slope,
            gain=gain,
            clamp=clamp,
            impl=self.impl,
        )


class LayerByLayer(Backend):
    """Every convolution with its epilogue in one operation, then the image: on all devices, with all gradients."""

    @classmethod
    def can_run(cls, run: Pass) -> bool:
        """Everything."""
        return True

    def modulate(self, styles: Mapping[str, Tensor]) -> None:
        """Sum the squares of every weight in this pass."""
        for name, layer in _convolutions(self.blocks):
            self.modulations[name] = layer.modulate(styles[name], self.dtype)

    def begin(self, const: Tensor) -> Tensor:
        """The constant for every sample, without its style."""
        samples = self.modulations["b4.conv1"].style.shape[0]
        return (
            const.to(self.dtype).expand(samples, -1, -1, -1).contiguous(memory_format=torch.channels_last)
        )  # [N, C, 4, 4]

    def block(
        self, block: Block, x: Tensor, image: Tensor | None, styles: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Run one block; its input and result are without a style."""
        name0, name1 = f"{block.name}.conv0", f"{block.name}.conv1"
        style: Tensor | None = self.modulations[name1].style  # [N, O]
        residual = None if block.skip is None else self._residual(block.skip, x)
        if block.conv0 is not None:  # only conv1 reads its result: the style is multiplied in at once
            x = self._layer(name0, block.conv0, x, self.modulations[name0].style, next_style=style)
            style = None
        x = self._layer(name1, block.conv1, x, style)  # [N, O, H', W']
        if residual is not None:
            x = x + residual
        if block.torgb is not None:
            torgb, f = block.torgb, None if image is None else self.taps
            rgb = styles[f"{block.name}.torgb"]
            bias = torgb.constants.bias
            weight = torgb.weight.to(self.dtype)
            image = to_rgb(x, weight, rgb, bias, clamp=torgb.clamp, skip=image, f=f, impl=self.impl)  # [N, 3, H', W']
        return x, image

    def _layer(
        self, name: str, layer: ModulatedConv3x3, x: Tensor, style: Tensor | None, next_style: Tensor | None = None
    ) -> Tensor:
        return self._convolve(name, layer, x, style, next_style=next_style)

    def _residual(self, skip: ResidualSkip, x: Tensor) -> Tensor:
        """The other half of a residual block: 1x1 convolution, then up-sampling by 2."""
        weight = skip.weight.to(self.dtype)  # [O, C, 1, 1]
        products = weight.numel() * x.shape[2] * x.shape[3]
        y = by_small_sample(lambda part: F.conv2d(part, weight), x, products) * (skip.gain * 0.5**0.5)  # [N, O, H, W]
        height, width = self.taps.shape[0], self.taps.shape[-1]
        padding = ((width + 1) // 2, (width - 2) // 2, (height + 1) // 2, (height - 2) // 2)
        return upfirdn2d(y, self.taps, up=2, padding=padding, gain=4.0, impl=self.impl)  # [N, O, 2 H, 2 W]


class PlainTorch(LayerByLayer):
    """The references of all operations, which can be differentiated any number of times."""

    impl: Impl = "reference"

    @classmethod
    def can_run(cls, run: Pass) -> bool:
        """Where gradients of gradients are asked for."""
        return run.gradients > 1


class PackedTiles(LayerByLayer):
    """The CPU's own convolution kernel, which reads weights packed: fp32, no gradient."""

    @classmethod
    def can_run(cls, run: Pass) -> bool:
        """On a CPU, in fp32, without gradient."""
        on_cpu = run.device.type == "cpu" and not takes_cuda_kernels(run.device)
        return on_cpu and run.dtype == run.blocks[0].conv1.weight.dtype == torch.float32 and not run.gradients

    def modulate(self, styles: Mapping[str, Tensor]) -> None:
        """Take weights packed, and their squares, from what each layer keeps."""
        self._weights: dict[str, Tensor] = {}
        for name, layer in _convolutions(self.blocks):
            self._weights[name], squares = layer.packed()
            self.modulations[name] = layer.modulate(styles[name], self.dtype, squares)

    def _layer(
        self, name: str, layer: ModulatedConv3x3, x: Tensor, style: Tensor | None, next_style: Tensor | None = None
    ) -> Tensor:
        return self._convolve(name, layer, x, style, self._weights[name], next_style)


class FusedBlockEnds(Backend):
    """CUDA's: one kernel ends a block, with activations, the next style and the image; x arrives with its style.

    Where a gradient is wanted, the same operations run one by one.
    """

    @classmethod
    def can_run(cls, run: Pass) -> bool:
        """On CUDA, where every block has an image."""
        return takes_cuda_kernels(run.device) and all(b.torgb is not None and b.skip is None for b in run.blocks)

    def modulate(self, styles: Mapping[str, Tensor]) -> None:
        """Keep for each layer the style of the one behind it."""
        names = []
        for name, layer in _convolutions(self.blocks):
            self.modulations[name] = layer.modulate(styles[name], self.dtype)
            names.append(name)
        self._next = {name: self.modulations[after].style for name, after in itertools.pairwise(names)}

    def begin(self, const: Tensor) -> Tensor:
        """The constant, with the style of the first convolution."""
        style = self.modulations["b4.conv1"].style.to(self.dtype)  # [N, C]
        return const.to(self.dtype) * style[:, :, None, None]  # [N, C, 4, 4]

    def block(
        self, block: Block, x: Tensor, image: Tensor | None, styles: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """Run one block; its input and result have the style of the convolution that reads them."""
        name0, name1, torgb, conv1 = f"{block.name}.conv0", f"{block.name}.conv1", block.torgb, block.conv1
        assert torgb is not None
        if block.conv0 is not None:
            x = self._convolve(name0, block.conv0, x, None, next_style=self._next[name0])
        slope, gain, clamp = conv1.activation
        following = self._next.get(name1)  # [N, O], None behind the last block
        y, image = conv_to_rgb(
            x,
            conv1.weight.to(self.dtype),
            self.modulations[name1].demod,
            *conv1.constants.noise(self.noise_mode, x.shape[0]),
            conv1.constants.bias,
            rgb_weight=torgb.weight.to(self.dtype),
            rgb_style=styles[f"{block.name}.torgb"],
            rgb_bias=torgb.constants.bias,
            rgb_clamp=torgb.clamp,
            skip=image,
            f=None if image is None else self.taps,
            next_style=following,
            keep=following is not None,
            negative_slope=slope,
            gain=gain,
            clamp=clamp,
        )
        return (x if y is None else y), image


_PEERS: tuple[type[Backend], ...] = (PlainTorch, FusedBlockEnds, PackedTiles, LayerByLayer)


def choose_backend(run: Pass) -> Backend:
    """Return the first of the peers that can make a pass."""
    return next(peer for peer in _PEERS if peer.can_run(run))(run)


def _convolutions(blocks: Sequence[Block]) -> list[tuple[str, ModulatedConv3x3]]:
    """All 3x3 convolutions and their names, in the order in which they run."""
    return [
        (f"{block.name}.{at}", layer)
        for block in blocks
        for at, layer in (("conv0", block.conv0), ("conv1", block.conv1))
        if layer is not None
    ]
