"""The picture by which a person judges a projection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from deltafast.files import write_png
from deltafast.pixels import to_arrays

__all__ = ["write_projection_sheet"]


def write_projection_sheet(
    path: Path, targets: Tensor, encoded: Tensor, refined: Tensor, *, tile: int = 128, columns: int = 12
) -> None:
    """Write a PNG with four rows per line of frames: target, encoder's image, refined image, absolute error.

    All three tensors are `[N, 3, H, W]` in [-1, 1]; the error (of the refined image) is shown three times as large.
    """
    small = [F.interpolate(x.float(), (tile, tile), mode="area") for x in (targets, encoded, refined)]
    error = ((small[0] - small[2]).abs() * 3 - 1).clamp(-1, 1)
    rows = [to_arrays(x) for x in (*small, error)]  # 4 x [N, tile, tile, 3]
    count = len(targets)
    lines = []
    for start in range(0, count, columns):
        for row in rows:
            tiles = list(row[start : start + columns])
            tiles += [np.full((tile, tile, 3), 255, np.uint8)] * (min(columns, count) - len(tiles))
            lines.append(np.hstack(tiles))
    write_png(path, np.vstack(lines))
