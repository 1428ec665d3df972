"""How well E and D predict identities that training never saw, beside LINEAR."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from deltafast.delta.editor import Editor, ends_of
from deltafast.delta.linear import LinearEditor, linear_editor
from deltafast.errors import InvalidInputError
from deltafast.sequence_latents import SequenceLatents

__all__ = ["HeldOutErrors", "held_out_errors", "write_table"]


@dataclass(frozen=True)
class HeldOutErrors:
    """Errors on held-out identities, each ‖predicted − true change‖² / ‖true change‖² over the editor's slots.

    1 is what predicting no change scores; the share that is noise of the projection nobody can predict.

    - `transfer`: D(b_i, E(a_i, a_j)) for a trained identity a, b held out, all frame pairs: what the loss asks for.
    - `reconstruction`: D(b_i, E(b_i, b_j)), Δ taken from the same identity.
    - `linear_transfer`: LINEAR with the same information, b_i + (a_j − a_i); `linear_mean`: b_i + the mean over
      training identities of (a_j − a_i).
    - `mean_delta`: D(b_i, mean over training identities of E(a_i, a_j)): what a bundled Δ does.
    - `edit`: the edit itself, from the neutral frame with the bundled Δ and α in proportion to the attribute's value,
      against all other frames; `linear_edit`: LINEAR's. `edit_negative`: the part of `edit` with α < 0, or None.
    - `offset`: ‖D(b, 0)‖ / ‖D(b, Δ)‖ at the neutral frame.
    """

    transfer: float
    reconstruction: float
    linear_transfer: float
    mean_delta: float
    linear_mean: float
    edit: float
    linear_edit: float
    edit_negative: float | None
    linear_edit_negative: float | None
    offset: float


@torch.no_grad()
def held_out_errors(editor: Editor, training: SequenceLatents, held_out: SequenceLatents) -> HeldOutErrors:
    """Measure an editor on identities it was not trained on; see `HeldOutErrors`.

    `training` are the sequences it was trained on, `held_out` others of the same attribute and frames. Raises
    `InvalidInputError` when their shapes do not fit the editor.
    """
    a = training.stack(editor.attribute)  # [K, n, L, C]
    b = held_out.stack(editor.attribute)  # [M, n, L, C]
    if a.shape[1:] != b.shape[1:] or tuple(a.shape[2:]) != (editor.num_ws, editor.w_dim):
        raise InvalidInputError(
            f"sequences {list(a.shape[1:])} and {list(b.shape[1:])} do not fit the editor's "
            f"[n, {editor.num_ws}, {editor.w_dim}]"
        )
    slots = list(editor.slots)
    frames = a.shape[1]
    total = dict.fromkeys(("transfer", "reconstruction", "linear_transfer", "mean_delta", "linear_mean"), 0.0)
    norm = 0.0
    partner = torch.arange(len(b)) % len(a)  # one training identity for each held-out one
    for i in range(frames):
        for j in range(frames):
            if i == j:
                continue
            true = b[:, j] - b[:, i]  # [M, L, C]
            delta = editor.encode(a[:, i], a[:, j])  # [K, L, dim]
            predictions = {
                "transfer": editor.decode(b[:, i], delta[partner]),
                "reconstruction": editor.decode(b[:, i], editor.encode(b[:, i], b[:, j])),
                "linear_transfer": (a[:, j] - a[:, i])[partner],
                "mean_delta": editor.decode(b[:, i], delta.mean(0, keepdim=True)),
                "linear_mean": (a[:, j] - a[:, i]).mean(0, keepdim=True).expand_as(true),
            }
            for name, predicted in predictions.items():
                total[name] += _square(predicted - true, slots)
            norm += _square(true, slots)
    linear = linear_editor(training, editor.attribute, editor.slots, negative=editor.info.config.negative)
    ours, ours_negative = _edit_error(editor, b)
    theirs, theirs_negative = _edit_error(linear, b)
    neutral = b[:, ends_of(editor.values)[0]]
    moved = editor.decode(neutral, editor.delta[None])
    return HeldOutErrors(
        **{name: value / norm for name, value in total.items()},
        edit=ours,
        linear_edit=theirs,
        edit_negative=ours_negative,
        linear_edit_negative=theirs_negative,
        offset=float(editor.offset(neutral).norm() / moved.norm()),
    )


def write_table(errors: HeldOutErrors) -> None:
    """Print held-out errors as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("held-out identities: relative squared error", "E and D", "LINEAR")
    rows: list[tuple[str, float | None, float | None]] = [
        ("change taken from one trained identity", errors.transfer, errors.linear_transfer),
        ("change taken from the mean of all trained", errors.mean_delta, errors.linear_mean),
        ("change taken from the same identity", errors.reconstruction, None),
        ("the edit, all frames", errors.edit, errors.linear_edit),
        ("the edit, alpha < 0", errors.edit_negative, errors.linear_edit_negative),
        ("|D(w, 0)| / |D(w, delta)|", errors.offset, None),
    ]
    for name, ours, theirs in rows:
        if ours is not None:
            table.add_row(name, f"{ours:.4f}", "" if theirs is None else f"{theirs:.4f}")
    Console().print(table)


def _edit_error(editor: Editor | LinearEditor, b: Tensor) -> tuple[float, float | None]:
    """Relative squared error of edits from the neutral frame to every other one: (all, those with α < 0 or None)."""
    values = editor.values
    slots = list(editor.slots)
    neutral, end, _ = ends_of(values)
    extent = editor.info.config.extent if isinstance(editor, Editor) else 1.0  # α of the whole change is 1 / extent
    sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
    for frame in range(b.shape[1]):
        if frame == neutral:
            continue
        alpha = (values[frame] - values[neutral]) / (values[end] - values[neutral])
        edited = editor.edit(b[:, neutral], alpha / extent)
        sums[alpha < 0][0] += _square(edited - b[:, frame], slots)
        sums[alpha < 0][1] += _square(b[:, frame] - b[:, neutral], slots)
    error, size = (sum(part[k] for part in sums.values()) for k in (0, 1))
    return error / size, sums[True][0] / sums[True][1] if sums[True][1] else None


def _square(x: Tensor, slots: list[int]) -> float:
    return float(x[:, slots].double().square().sum())
