"""Directions in W found or brought: ridge regression of a measure on sampled latents, and directions of other people.

A direction says where to go, not how far: `calibrate` gives it the length at which alpha = 1 moves the target measure
by a given change, on faces that no report uses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.delta.editor import LatentEditor
from deltafast.delta.linear import LinearEditor
from deltafast.delta.slots import check_slots
from deltafast.errors import InvalidInputError
from deltafast.evaluation.edit_curves import read_edits
from deltafast.evaluation.readings import FaceReader

__all__ = ["RidgeFit", "calibrate", "mean_change", "place_direction", "ridge_direction"]

Array = NDArray[np.float64]

_LAMBDAS = np.logspace(-4, 4, 33)  # times the mean variance of a component
_ROUNDS = 4
_LARGEST_STEP = 8.0  # factor by which one round may change a direction's length


@dataclass(frozen=True)
class RidgeFit:
    """The best single direction: moving w by `direction` `[w_dim]` raises the predicted measure by 1.

    `r2`: of the predictions left out one by one; `strength`: the chosen ridge, in mean variances; `n`: samples used.
    """

    direction: Array
    r2: float
    strength: float
    n: int


def ridge_direction(codes: Array, values: Array) -> RidgeFit:
    """Fit a measure `values` `[N]` by a linear function of W codes `[N, w_dim]`; samples with NaN are left out.

    The ridge (Hoerl and Kennard 1970) is the one with the smallest error on samples left out one at a time, which for
    a linear fit needs no refitting. Raises `InvalidInputError` for fewer than four samples or a constant measure.
    """
    there = np.isfinite(values)
    x, y = np.asarray(codes, np.float64)[there], np.asarray(values, np.float64)[there]
    n = len(x)
    if n < 4 or np.ptp(y) == 0:
        raise InvalidInputError(f"a direction is fitted to at least four samples whose measure varies, got {n}")
    centred, target = x - x.mean(axis=0), y - y.mean()
    u, s, vt = np.linalg.svd(centred, full_matrices=False)  # [N, R], [R], [R, D]
    unit = float((s**2).mean())
    projected = u.T @ target  # [R]
    best: tuple[float, float, Array] | None = None
    for strength in _LAMBDAS:
        shrink = s**2 / (s**2 + strength * unit)  # [R]
        leverage = (u**2 * shrink).sum(axis=1) + 1 / n  # [N]
        left_out = (target - u @ (shrink * projected)) / np.maximum(1 - leverage, 1e-9)
        error = float((left_out**2).mean())
        if best is None or error < best[0]:
            best = error, float(strength), vt.T @ (shrink * projected / np.maximum(s, 1e-12))
    assert best is not None
    error, strength, slope = best
    return RidgeFit(slope / max(float(slope @ slope), 1e-12), 1 - error / float((target**2).mean()), strength, n)


def place_direction(direction: Tensor, slots: Iterable[int], num_ws: int, w_dim: int) -> tuple[Tensor, tuple[int, ...]]:
    """Return a direction as W+ `[num_ws, w_dim]` and the slots that it moves.

    `[w_dim]` and `[1, w_dim]` (one code for all: InterFaceGAN, GANSpace) go into `slots`; `[num_ws, w_dim]` stays as it
    is, and moves wherever it is not zero. Raises `InvalidInputError` for another shape, NaN, or zeros.
    """
    given = direction.detach().float().cpu()
    if given.ndim == 3 and given.shape[0] == 1:
        given = given[0]
    if given.ndim == 1:
        given = given[None]
    if given.ndim != 2 or given.shape[1] != w_dim or given.shape[0] not in (1, num_ws):
        raise InvalidInputError(
            f"a direction is [{w_dim}], [1, {w_dim}] or [{num_ws}, {w_dim}] for this generator, got "
            f"{list(direction.shape)}"
        )
    if not bool(torch.isfinite(given).all()) or not bool(given.any()):
        raise InvalidInputError("a direction must be finite and not zero")
    if given.shape[0] == num_ws and num_ws > 1:
        return given, tuple(int(slot) for slot in torch.nonzero(given.abs().sum(1)).flatten())
    moved = check_slots(slots, num_ws)
    placed = torch.zeros(num_ws, w_dim)
    placed[list(moved)] = given
    return placed, moved


def mean_change(reader: FaceReader, editor: LatentEditor, faces: Tensor, description: str = "") -> float:
    """Return the target measure's change from alpha = -1 to 1, the mean over `faces` `[N, num_ws, w_dim]`."""
    target = read_edits(reader, editor, editor.attribute, faces, (-1.0, 0.0, 1.0), description).target()  # [N, 3]
    change = target[:, 2] - target[:, 0]
    return float(np.nanmean(change)) if np.isfinite(change).any() else float("nan")


def calibrate(
    reader: FaceReader, editor: LinearEditor, wanted: float, faces: Tensor, description: str = ""
) -> tuple[LinearEditor, float]:
    """Scale a linear editor until its change from alpha = -1 to 1, the mean over `faces`, is `wanted`.

    Returns it and the factor, which may be negative. Until it is within 5 %, but four rounds at most, in each of which
    the length changes by at most a factor of 8. A direction that moves nothing comes back as it was, and so does every
    one where `wanted` is 0 or NaN: there is no length to bring it to.
    """
    if not np.isfinite(wanted) or wanted == 0:
        return editor, 1.0
    factor = 1.0
    for _ in range(_ROUNDS):
        change = mean_change(reader, _scaled(editor, factor), faces, description)
        if not np.isfinite(change) or change == 0 or abs(change - wanted) < 0.05 * abs(wanted):
            break
        step = wanted / change
        factor *= float(np.sign(step) * np.clip(abs(step), 1 / _LARGEST_STEP, _LARGEST_STEP))
    return _scaled(editor, factor), factor


def _scaled(editor: LinearEditor, factor: float) -> LinearEditor:
    positive, negative = (editor.direction, editor.negative) if factor > 0 else (editor.negative, editor.direction)
    size = abs(factor)
    return LinearEditor(
        editor.attribute, editor.values, positive * size, editor.slots, editor.generator, negative * size
    )
