"""Which devices go the way of CUDA through a layer, and which that of the CPU."""

from __future__ import annotations

import torch

__all__ = ["takes_cuda_kernels"]

CUDA_KERNEL_DEVICES = frozenset({"cuda"})


def takes_cuda_kernels(x: torch.Tensor | torch.device) -> bool:
    """Return whether layers on `x` (or its device) are cuDNN's convolutions with kernels of ours between them.

    So it is on CUDA; elsewhere, kernels of ours do whole layers.
    """
    return (x.device if isinstance(x, torch.Tensor) else x).type in CUDA_KERNEL_DEVICES
