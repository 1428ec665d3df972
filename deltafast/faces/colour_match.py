"""Colours of a pasted picture brought to the photo's along the rim of its mask, and less and less within."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu

__all__ = ["MATCHED", "rim_correction"]

Array = NDArray[np.float64]

MATCHED = 64
"""Places of a side of the crop at which colours are compared."""

_FADE = 5.0  # of these places: so far within the rim a correction falls to 1/e
_ALIKE = 28.0  # grey levels: where a picture differs from the photo by much more, it shows something else there
_MOST = 96.0  # grey levels that a correction changes at most
_UNCHANGED = 1.0  # grey levels: where less than this is changed, less is corrected, and nothing where nothing is
_OUTLINE = 0.15  # a difference of persons' shares across which a correction hardly spreads
_BEHIND = 0.02  # as much of the fading as in a head: a background takes the photo's colours throughout
_CLEAR = 4  # a power: what is partly hair is no background whose colours count
_UNSEEN = 2.0  # grey levels by which colours may differ along the rim


def rim_correction(change: Array, share: Array, person: Array | None = None) -> Array:
    """Return what is added to a picture's change of a photo, so that along the mask's rim no colour jumps.

    - `change` `[G, G, 3]`: what the picture changes in the photo, in grey levels, averaged over places of the crop;
    - `share` `[G, G]`: that of the picture in each place, 0 to 1;
    - `person` `[2, G, G]`: where a person is in the photo and in the picture, 0 to 1, where it is known.

    A membrane: the correction c that minimises the sum of |grad c|^2 + |c|^2 / f^2 + h |c + change|^2, f being the
    length over which it fades (0.08 of the crop's side) and h large on the rim, where photo and picture are both seen,
    0 elsewhere. It follows the rim's colours and light, and fades into the face, so that an edit of the light stays
    what it is in the face's middle. Where they differ so much that they show different things (hair before a wall), the
    rim says little, and what is beside it more. Where persons are known, the membrane is cut between them and what is
    behind: a background takes the colours of the photo's, however far they are, and a head does not. `[G, G, 3]`, 0
    where nothing is changed.

    Poisson image editing (Perez, Gangnet and Blake, SIGGRAPH 2003), screened, and of low frequencies alone.
    """
    soft = ndimage.gaussian_filter(share, 1.0, mode="nearest")
    rim = 4 * soft * (1 - soft)  # [G, G], 1 where half of each is seen
    low = ndimage.gaussian_filter(change, (1.0, 1.0, 0.0), mode="nearest")
    apart = np.sqrt(np.square(low).mean(axis=-1))  # [G, G]
    low = low * np.clip(1 - _UNSEEN / np.maximum(apart, _UNSEEN), 0, 1)[..., None]
    alike = 1 / (1 + np.square(apart / _ALIKE)) ** 3
    if person is not None:
        alike = person[0] * person[1] * alike + ((1 - person[0]) * (1 - person[1])) ** _CLEAR
    hold = rim * alike  # [G, G]
    wanted = -(hold[..., None] * low).reshape(share.size, 3)
    if not wanted.any():
        return np.zeros_like(change)
    within = np.ones_like(share) if person is None else np.maximum(person[1], _BEHIND)
    system = _smoothness(within) + sparse.diags((hold + within * _FADE**-2).reshape(-1))
    solved: Array = splu(system.tocsc(), permc_spec="MMD_AT_PLUS_A").solve(wanted)
    present = ndimage.maximum_filter(np.abs(change).max(axis=-1), 3)
    bounded = np.clip(solved.reshape(change.shape), -_MOST, _MOST)
    return np.asarray(bounded * np.clip(present / _UNCHANGED, 0, 1)[..., None])


def _smoothness(person: Array) -> Any:
    """The sum of squared differences between neighbours, sparse `[G G, G G]`, hardly any across a person's outline."""
    numbers = np.arange(person.size).reshape(person.shape)
    down = (numbers[:-1].ravel(), numbers[1:].ravel(), np.diff(person, axis=0).ravel())
    right = (numbers[:, :-1].ravel(), numbers[:, 1:].ravel(), np.diff(person, axis=1).ravel())
    one, other, step = (np.concatenate(pair) for pair in zip(down, right, strict=True))
    weight = np.exp(-np.square(step / _OUTLINE))
    count = person.size
    across = sparse.coo_matrix((-weight, (one, other)), shape=(count, count))
    both = (across + across.T).tocsr()
    return both - sparse.diags(np.asarray(both.sum(axis=1)).ravel())
