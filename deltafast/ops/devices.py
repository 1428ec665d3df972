"""Which devices go the way of CUDA through a layer, and which that of the CPU."""

from __future__ import annotations

import torch

__all__ = ["takes_cuda_kernels"]

CUDA_KERNEL_DEVICES = frozenset({"cuda"})


def takes_cuda_kernels(x: torch.Tensor) -> bool:
    """Return whether layers on `x` are cuDNN's convolutions with kernels of ours between them, as on CUDA.

    Elsewhere, kernels of ours do whole layers.
    """
    return x.device.type in CUDA_KERNEL_DEVICES
