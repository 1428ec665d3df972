"""Several flows as one: dw/dt = the sum of their fields, so that no order is left to matter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from deltafast.delta.editor import Editor, check_latents
from deltafast.delta.flow import FlowDecoder
from deltafast.delta.slots import check_slots
from deltafast.errors import InvalidInputError
from deltafast.ops import delta_flow

__all__ = ["edit_together"]


def edit_together(
    editors: Sequence[Editor],
    ws: Tensor,
    alphas: Sequence[float | Tensor],
    *,
    slots: Iterable[int] | None = None,
) -> Tensor:
    """Return where the sum of all editors' fields leads from `ws`, each of them going as far as its α says.

    Equivalent to all edits one after the other in infinitely small parts. One launch of `delta_flow`: in each slot the
    hidden units of all editors stand side by side.

    Args: `editors`: at least one, all of form="flow", of one W+ space and with as many hidden layers. `ws`: floating
    point `[N, num_ws, w_dim]`. `alphas`: for each editor a number, or one for each sample `[N]`. `slots`: move only
    these. Result: `[N, num_ws, w_dim]` of the dtype and device of `ws`; `ws` itself, to the bit, where all α are 0.
    Raises `InvalidInputError`.
    """
    if not editors or len(editors) != len(alphas):
        raise InvalidInputError(
            f"edit_together takes one alpha for each of at least one editor, got {len(alphas)} for {len(editors)}"
        )
    first = editors[0]
    check_latents(ws, first.num_ws, first.w_dim)
    jumps = [editor.attribute for editor in editors if editor.info.config.form != "flow"]
    if jumps:
        raise InvalidInputError(
            f"only flows can be summed, and {', '.join(jumps)} is a jump (form='jump'): apply it before or after them"
        )
    for editor in editors[1:]:
        same = [(e.num_ws, e.w_dim, e.info.config.layers) for e in (editor, first)]
        if same[0] != same[1]:
            raise InvalidInputError(
                f"editors that are summed share num_ws, w_dim and layers: {editor.attribute} has {same[0]}, "
                f"{first.attribute} {same[1]}"
            )
    moved = sorted({slot for editor in editors for slot in editor.slots})
    if slots is not None:
        allowed = check_slots(slots, first.num_ws)
        moved = [slot for slot in moved if slot in allowed]
    amounts = torch.stack([editor.amounts(alpha, ws) for editor, alpha in zip(editors, alphas, strict=True)])  # [E, N]
    time = amounts.abs().amax(0)  # [N]: as many steps as the longest of them would take by itself
    rates = torch.where(time > 0, amounts / time, 0)  # [E, N]
    with torch.autocast(ws.device.type, enabled=False):
        parts = [_spread(editor, moved) for editor in editors]
        codes = [rate[:, None, None] * part["code"] for rate, part in zip(rates, parts, strict=True)]
        steps = max(editor.info.config.flow_steps for editor in editors)
        return delta_flow(
            ws,
            time,
            torch.cat(codes, 2),  # [N, S, width of all]
            torch.tensor(moved, dtype=torch.long, device=ws.device),
            latent_weight=torch.cat([part["latent_weight"] for part in parts], 2),
            latent_bias=torch.cat([part["latent_bias"] for part in parts], 1),
            hidden_weight=_block_diagonal([part["hidden_weight"] for part in parts]),
            hidden_bias=torch.cat([part["hidden_bias"] for part in parts], 2),
            output_weight=torch.cat([part["output_weight"] for part in parts], 1),
            steps=steps,
        )


def _spread(editor: Editor, moved: list[int]) -> dict[str, Tensor]:
    """An editor's field and code VΔ `[S, width]` in the slots `moved`, zero in those that it leaves alone."""
    decoder = editor.decoder
    assert isinstance(decoder, FlowDecoder)
    own = list(editor.slots)
    field = decoder.weights(editor.normalisation)._asdict()
    field["code"] = torch.bmm(editor.delta[own][:, None], decoder.code.weight)[:, 0]  # [slots, width]
    common = [slot for slot in moved if slot in own]
    target = torch.tensor([moved.index(slot) for slot in common], dtype=torch.long, device=editor.delta.device)
    source = torch.tensor([own.index(slot) for slot in common], dtype=torch.long, device=editor.delta.device)
    result = {}
    for name, tensor in field.items():
        axis = 1 if name.startswith("hidden") else 0
        shape = list(tensor.shape)
        shape[axis] = len(moved)
        result[name] = tensor.new_zeros(shape).index_copy(axis, target, tensor.index_select(axis, source))
    return result


def _block_diagonal(weights: Sequence[Tensor]) -> Tensor:
    """Weights `[layers - 1, S, width, width]` of several editors as those of one network of all their units."""
    width = sum(weight.shape[-1] for weight in weights)
    result = weights[0].new_zeros(*weights[0].shape[:2], width, width)
    at = 0
    for weight in weights:
        end = at + weight.shape[-1]
        result[:, :, at:end, at:end] = weight
        at = end
    return result
