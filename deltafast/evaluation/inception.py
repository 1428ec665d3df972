"""Inception-v3 (Szegedy et al. 2016, arXiv 1512.00567) up to its 2048 pooled features, for FID.

Modules are named as in the published weight files: FID's own network as converted from TensorFlow
(`pt_inception-2015-12-05-6726825d.pth`, 1008 classes), and torchvision's ImageNet one
(`inception_v3_google-0cc3c7bd.pth`, 1000 classes). The first differs in its pooling: averages do not count the
padding, and the last block takes maxima.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["InceptionV3Features"]


class _Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2) if isinstance(kernel, tuple) else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class _Block(nn.Module):
    """Base of the blocks: `fid` chooses how they pool."""

    def __init__(self, fid: bool) -> None:
        super().__init__()
        self.fid = fid

    def average(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=not self.fid)


class _A(_Block):
    """35 x 35: 1x1, 5x5, double 3x3 and pooled paths."""

    def __init__(self, inputs: int, pooled: int, fid: bool) -> None:
        super().__init__(fid)
        self.branch1x1 = _Conv(inputs, 64, 1)
        self.branch5x5_1 = _Conv(inputs, 48, 1)
        self.branch5x5_2 = _Conv(48, 64, (5, 5))
        self.branch3x3dbl_1 = _Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, (3, 3))
        self.branch3x3dbl_3 = _Conv(96, 96, (3, 3))
        self.branch_pool = _Conv(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(self.average(x))], 1)


class _B(nn.Module):
    """35 x 35 to 17 x 17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = _Conv(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = _Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, (3, 3))
        self.branch3x3dbl_3 = _Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), three, F.max_pool2d(x, 3, stride=2)], 1)


class _C(_Block):
    """17 x 17: paths of 1x7 and 7x1."""

    def __init__(self, inputs: int, hidden: int, fid: bool) -> None:
        super().__init__(fid)
        self.branch1x1 = _Conv(inputs, 192, 1)
        self.branch7x7_1 = _Conv(inputs, hidden, 1)
        self.branch7x7_2 = _Conv(hidden, hidden, (1, 7))
        self.branch7x7_3 = _Conv(hidden, 192, (7, 1))
        self.branch7x7dbl_1 = _Conv(inputs, hidden, 1)
        self.branch7x7dbl_2 = _Conv(hidden, hidden, (7, 1))
        self.branch7x7dbl_3 = _Conv(hidden, hidden, (1, 7))
        self.branch7x7dbl_4 = _Conv(hidden, hidden, (7, 1))
        self.branch7x7dbl_5 = _Conv(hidden, 192, (1, 7))
        self.branch_pool = _Conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(self.average(x))], 1)


class _D(nn.Module):
    """17 x 17 to 8 x 8."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = _Conv(inputs, 192, 1)
        self.branch3x3_2 = _Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _Conv(inputs, 192, 1)
        self.branch7x7x3_2 = _Conv(192, 192, (1, 7))
        self.branch7x7x3_3 = _Conv(192, 192, (7, 1))
        self.branch7x7x3_4 = _Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, stride=2)], 1)


class _E(_Block):
    """8 x 8: paths that end in a 1x3 beside a 3x1."""

    def __init__(self, inputs: int, fid: bool, largest: bool = False) -> None:
        super().__init__(fid)
        self.largest = largest
        self.branch1x1 = _Conv(inputs, 320, 1)
        self.branch3x3_1 = _Conv(inputs, 384, 1)
        self.branch3x3_2a = _Conv(384, 384, (1, 3))
        self.branch3x3_2b = _Conv(384, 384, (3, 1))
        self.branch3x3dbl_1 = _Conv(inputs, 448, 1)
        self.branch3x3dbl_2 = _Conv(448, 384, (3, 3))
        self.branch3x3dbl_3a = _Conv(384, 384, (1, 3))
        self.branch3x3dbl_3b = _Conv(384, 384, (3, 1))
        self.branch_pool = _Conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.fid and self.largest else self.average(x)
        paths = [
            self.branch1x1(x),
            self.branch3x3_2a(three),
            self.branch3x3_2b(three),
            self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double),
            self.branch_pool(pooled),
        ]
        return torch.cat(paths, 1)


class InceptionV3Features(nn.Module):
    """The 2048 features of the last pooling: RGB images `[N, 3, 299, 299]` in [-1, 1] -> `[N, 2048]`."""

    def __init__(self, *, fid: bool) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, (3, 3))
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b = _A(192, 32, fid)
        self.Mixed_5c = _A(256, 64, fid)
        self.Mixed_5d = _A(288, 64, fid)
        self.Mixed_6a = _B(288)
        self.Mixed_6b = _C(768, 128, fid)
        self.Mixed_6c = _C(768, 160, fid)
        self.Mixed_6d = _C(768, 160, fid)
        self.Mixed_6e = _C(768, 192, fid)
        self.Mixed_7a = _D(768)
        self.Mixed_7b = _E(1280, fid)
        self.Mixed_7c = _E(2048, fid, largest=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # [N, 64, 147, 147]
        x = F.max_pool2d(x, 3, stride=2)
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, stride=2)  # [N, 192, 35, 35]
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # [N, 288, 35, 35]
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))  # [N, 768, 17, 17]
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # [N, 2048, 8, 8]
        return x.mean((2, 3))
