"""dlib's face recognition network in torch, read from dlib's own file: the same descriptors, many times sooner.

dlib's program computes convolutions without vector instructions that today's processors have. The network is the one
that its author published (`dlib_face_recognition_resnet_model_v1.dat`: a residual network, He et al. 2015, arXiv
1512.03385, of 29 convolutions with half the filters), in dlib's serialised format: integers with their length before
them, tensors as little endian floats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from deltafast.errors import InvalidInputError

__all__ = ["CHIP_SIZE", "DescriptorNetwork"]

CHIP_SIZE = 150  # pixels of a face's picture, cut with dlib's padding of a quarter
_MEAN = (122.782, 117.001, 104.298)  # of the input's channels, subtracted before the division by 256
# filters of each residual block, input first; True where the block halves the resolution
_BLOCKS = (
    *((32, False),) * 3,
    *((64, True), (64, False), (64, False), (64, False)),
    *((128, True), (128, False), (128, False)),
    *((256, True), (256, False), (256, False)),
    (256, True),
)
_LAYER = re.compile(rb"\x01\x05con_4|\x01\x07affine_|\x01\x04fc_2")


class DescriptorNetwork:
    """The network, from the bytes of dlib's file. Raises `InvalidInputError` where they are not that network's."""

    def __init__(self, data: bytes) -> None:
        layers = _parameters(data)
        self._first = _convolution(layers, (32, 3, 7, 7))
        self._blocks = []
        channels = 32
        for filters, down in _BLOCKS:
            pair = [_convolution(layers, (filters, n, 3, 3)) for n in (channels, filters)]
            self._blocks.append((pair[0], pair[1], down))
            channels = filters
        self._last = torch.from_numpy(_next(layers, 256 * 128).reshape(256, 128).copy())
        if next(layers, None) is not None:
            raise InvalidInputError(f"this is not dlib's face recognition network: more than {len(_BLOCKS)} blocks")

    @torch.inference_mode()
    def __call__(self, chips: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the descriptors `[N, 128]` of face pictures, RGB uint8 `[N, 150, 150, 3]` as dlib cuts them."""
        x = torch.from_numpy(np.ascontiguousarray(chips)).permute(0, 3, 1, 2).float()  # [N, 3, 150, 150]
        x = (x - torch.tensor(_MEAN)[:, None, None]) / 256
        weight, bias = self._first
        x = F.max_pool2d(F.relu(F.conv2d(x, weight, bias, stride=2)), 3, 2)  # [N, 32, 35, 35]
        for (first, first_bias), (second, second_bias), down in self._blocks:
            y = F.relu(F.conv2d(x, first, first_bias, stride=2) if down else F.conv2d(x, first, first_bias, padding=1))
            y = F.conv2d(y, second, second_bias, padding=1)
            x = F.relu(_padded_sum(y, F.avg_pool2d(x, 2, 2)) if down else y + x)
        return np.asarray((x.mean((2, 3)) @ self._last).numpy(), dtype=np.float64)  # [N, 128]


def _padded_sum(one: Tensor, two: Tensor) -> Tensor:
    """Return the sum of `[N, C, H, W]` of different sizes, the smaller ones continued by zeros."""
    channels, height, width = (max(a, b) for a, b in zip(one.shape[1:], two.shape[1:], strict=True))

    def padded(x: Tensor) -> Tensor:
        return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1]))

    return padded(one) + padded(two)


def _convolution(layers: Iterator[NDArray[np.float32]], shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution and the gains and offsets behind it, as one convolution."""
    filters, count = shape[0], int(np.prod(shape))
    both = _next(layers, count + filters).astype(np.float64)
    gain, offset = _next(layers, 2 * filters).astype(np.float64).reshape(2, filters)
    weight = both[:count].reshape(shape) * gain[:, None, None, None]
    bias = both[count:] * gain + offset
    return torch.from_numpy(weight.astype(np.float32)), torch.from_numpy(bias.astype(np.float32))


def _next(layers: Iterator[NDArray[np.float32]], size: int) -> NDArray[np.float32]:
    found = next(layers, None)
    if found is None or len(found) != size:
        got = "the end" if found is None else f"{len(found)} numbers"
        raise InvalidInputError(f"this is not dlib's face recognition network: expected {size} numbers, found {got}")
    return found


def _parameters(data: bytes) -> Iterator[NDArray[np.float32]]:
    """Yield the parameters of every layer that has some, from the input on."""
    place = 0
    while (layer := _LAYER.search(data, place)) is not None:
        place = layer.end()
        if layer.group().endswith(b"fc_2"):  # numbers of outputs and inputs come first
            for _ in range(2):
                _, place = _integer(data, place)
        sizes = []
        for _ in range(5):  # the format's version, and four sizes
            value, place = _integer(data, place)
            sizes.append(value)
        count = int(np.prod(sizes[1:], dtype=np.int64))
        if sizes[0] != 2 or not 0 < count <= (len(data) - place) // 4:
            raise InvalidInputError("this is not dlib's face recognition network: a tensor does not fit into the file")
        yield np.frombuffer(data, "<f4", count, place)
        place += 4 * count


def _integer(data: bytes, place: int) -> tuple[int, int]:
    """Return a serialised integer, and where the next value begins."""
    length = data[place] & 0x0F if place < len(data) else 0
    value = int.from_bytes(data[place + 1 : place + 1 + length], "little")
    return (-value if length and data[place] & 0x80 else value), place + 1 + length
