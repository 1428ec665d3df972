"""float32 means float32: no TF32 in what is tested and timed, nor in what it is compared with."""

from __future__ import annotations

import torch


def float32_is_exact() -> None:
    """Switch TF32 off in this process, in cuDNN (where torch has it on) and in matrix products."""
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
