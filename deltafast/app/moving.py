"""An edit as a moving picture: from the unedited face there and back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from deltafast.delta.editor import LatentEditor
from deltafast.editing import EditOptions
from deltafast.editing.animation import AnimationPath, Animator
from deltafast.generators.base import Generator
from deltafast.moving_pictures import check_format

__all__ = ["moving_bytes"]

_FRAMES = 32
_SIZE = 512  # pixels of the longer side


def moving_bytes(
    kind: str,
    generator: Generator,
    editors: Sequence[LatentEditor],
    alphas: Sequence[float],
    ws: Tensor,
    synthesis: Callable[..., Tensor],
) -> bytes:
    """Return 32 frames from `ws` `[1, num_ws, w_dim]` to the edit by `alphas` and back, as a file of `kind`.

    `synthesis` makes the pictures. Raises `InvalidInputError` for another kind than gif, webp and mp4, and
    `DeltafastError` where PyAV, which mp4 needs, is not installed.
    """
    suffix = check_format(kind)
    path = AnimationPath(np.array([[0.0] * len(alphas), list(alphas)]))
    options = EditOptions(batch_size=1, synthesise=synthesis)
    given: list[Any] = list(editors)
    animator = Animator(generator, given, path, word="alpha", frames=_FRAMES, size=_SIZE, options=options)
    (made,) = animator.animations(ws)
    with tempfile.TemporaryDirectory() as folder:  # in memory, where the app has its uploads
        file = Path(folder) / f"edit.{suffix}"
        made.save(file)
        return file.read_bytes()
