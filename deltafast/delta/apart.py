"""Sequences of one attribute without what others have in them: older, but no more of a man.

Heads that age along a sequence are projected by networks that know faces as they are photographed, and the differences
of their latents then show other things too. What they share with another attribute is taken out of the latents before
E and D learn from them: slot by slot, in the metric in which W has unit variance, differences along the attribute are
made orthogonal to the mean differences along the others, as InterFaceGAN (arXiv 2005.09635) does with two directions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deltafast.delta.editor import ends_of
from deltafast.errors import InvalidInputError
from deltafast.generators.w_statistics import WStatistics
from deltafast.sequence_latents import SequenceLatents

__all__ = ["apart_from"]


def apart_from(
    latents: SequenceLatents, attribute: str, others: Sequence[str], statistics: WStatistics
) -> SequenceLatents:
    """Return the sequences of `attribute` alone, their differences from the neutral frame without those of `others`.

    `others`: attributes of the same latents; `statistics`: of the generator's W, `[w_dim]` as the latents'. In each of
    the num_ws slots the mean directions of the others, whitened, span what is taken out. Neutral frames stay as they
    are. Raises `InvalidInputError` for an attribute that is not there, that is named twice, or is its own other, and
    for others without any difference.
    """
    if len(set(others)) != len(others) or attribute in others:
        raise InvalidInputError(
            f"{attribute} can be kept apart from other attributes, each once; got {', '.join(others)}"
        )
    stack = latents.stack(attribute)  # [K, n, num_ws, w_dim]
    if stack.shape[-1] != len(statistics.mean):
        raise InvalidInputError(f"the latents' codes have {stack.shape[-1]} components, W's {len(statistics.mean)}")
    neutral = ends_of(latents.attributes[attribute])[0]
    start = stack[:, neutral, None]  # [K, 1, num_ws, w_dim]
    change = statistics.whiten(stack - start)
    directions = torch.stack(
        [statistics.whiten(_direction(latents, other)) for other in others], 1
    )  # [num_ws, O, w_dim]
    lengths = directions.norm(dim=2)
    if not bool((lengths > 0).all()):
        raise InvalidInputError(f"latents of {', '.join(others)} show no difference in some slot")
    basis = torch.linalg.qr((directions / lengths[..., None]).transpose(1, 2)).Q  # [num_ws, w_dim, O]
    shares = torch.einsum("knsd,sdo->knso", change, basis)
    change = change - torch.einsum("knso,sdo->knsd", shares, basis)
    result = start + statistics.unwhiten(change)
    result[:, neutral] = stack[:, neutral]
    return SequenceLatents(
        {attribute: latents.attributes[attribute]},
        latents.identities,
        {(attribute, identity): rows for identity, rows in zip(latents.identities, result, strict=True)},
        latents.generator,
        latents.source,
    )


def _direction(latents: SequenceLatents, attribute: str) -> Tensor:
    """The mean difference along an attribute, `[num_ws, w_dim]`: to the last frame, from the first or neutral one."""
    stack = latents.stack(attribute)
    neutral, end, opposite = ends_of(latents.attributes[attribute])
    start = neutral if opposite is None else opposite
    return (stack[:, end] - stack[:, start]).mean(0)
