"""For each face the amount of an edit at which it has changed by what was asked for, found by reading it.

A method that does nothing keeps every identity, so methods are compared where each face has measurably changed by the
same amount. Face by face and each way, alpha is searched: the first guess is what other faces needed on average, the
next ones follow the face's own readings, linear between them; at most four readings for a change. A face that is not
within 15 % of the change by then, or would need more than two and a half times what faces need on average, is not
brought there. What the edit costs at the change itself is interpolated between the readings on both sides of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deltafast.delta.editor import LatentEditor
from deltafast.evaluation.changes import near_enough
from deltafast.evaluation.readings import FaceReader, Readings
from deltafast.faces.attributes import MEASURES, TARGET_MEASURES
from deltafast.faces.comparison import identity_cosine, identity_distance

__all__ = ["IDENTITY_COSINE", "IDENTITY_DISTANCE", "WAYS", "ChangedFaces", "edited_each", "search_changes"]

Array = NDArray[np.float64]

IDENTITY_DISTANCE = "identity_distance"
IDENTITY_COSINE = "identity_cosine"
WAYS = (-1, 1)  # of alpha
_TRIES = 4  # readings for one change
_MOST = 2.5  # times the alpha that faces need on average
_GRID = 1000  # alphas are whole numbers of 1/_GRID of that, so that what was read once is met again


@dataclass(frozen=True)
class ChangedFaces:
    """What N faces show where one method has changed them by each of L amounts (`changes`), both `WAYS`.

    `alpha` `[N, 2, L]`: of the reading nearest to the change, NaN where a face is not brought there; `read`, as large:
    the change that this reading shows; `costs[name]` `[N, 2, L]`: at the change itself, the descriptors' distance to
    the unedited face and cosine with it, and every measure's absolute change; `unedited`: readings of the N faces, the
    target measure as it is read; `readings_made`: how many images the search asked for.
    """

    attribute: str
    changes: tuple[float, ...]
    alpha: Array
    read: Array
    costs: dict[str, Array]
    unedited: Readings
    readings_made: int

    @property
    def brought(self) -> NDArray[np.bool_]:
        """Which faces are brought to each change, `[N, 2, L]`."""
        return np.isfinite(self.alpha)


def search_changes(
    reader: FaceReader,
    editor: LatentEditor,
    attribute: str,
    latents: Tensor,
    changes: Sequence[float],
    change_at_one: float,
    description: str = "",
) -> ChangedFaces:
    """Bring N faces `[N, num_ws, w_dim]` to each of the rising `changes`, both ways.

    `change_at_one`: what alpha = 1 changes on average, from which guesses start; where it is not above 0 no face is
    brought anywhere. Network features of the readings are left for `FaceReader.features`.
    """
    unedited = reader.read(latents, f"{description}: unedited" if description else "", features=True)
    track = _Track(attribute, unedited)
    chosen = np.full((len(latents), len(WAYS), len(changes)), -1)  # [N, 2, L] index of the reading
    count = 0
    for place, change in enumerate(changes if np.isfinite(change_at_one) and change_at_one > 0 else ()):
        usual, near = change / change_at_one, near_enough(attribute, change)
        waiting = track.with_face()  # [N, 2]
        for attempt in range(_TRIES):
            alphas = np.where(waiting, track.guess(change, usual), np.nan)  # [N, 2]
            asked = np.argwhere(np.isfinite(alphas))  # [M, 2]
            if not len(asked):
                break
            signed = [WAYS[way] * alphas[face, way] for face, way in asked]
            rows = edited_each(editor, latents[asked[:, 0]], signed)  # [M, L, D]
            title = f"{description} by {change:g}, reading {attempt + 1}" if description else ""
            track.add(asked, alphas, reader.read(rows, title, features=True))
            count += len(asked)
            waiting &= np.isfinite(alphas) & ~(track.off(change) <= near)
        off = track.off(change)  # [N, 2]
        chosen[:, :, place] = np.where(off <= near, track.nearest(change), -1)
    return track.result(tuple(changes), chosen, count)


def edited_each(editor: LatentEditor, latents: Tensor, alphas: Sequence[float]) -> Tensor:
    """Return M faces `[M, num_ws, w_dim]`, each edited by an alpha of its own and by itself (see `edited_latents`)."""
    with torch.inference_mode():
        rows = [editor.edit(face[None], float(alpha)) for face, alpha in zip(latents, alphas, strict=True)]
    return torch.cat(rows) if rows else latents[:0]


class _Track:
    """All readings of N faces both ways, P for each, the first at alpha = 0; NaN where nothing was read.

    `alpha` `[N, 2, P]` are sizes; `change` `[N, 2, P]`: the target's, positive in the way's own direction.
    """

    def __init__(self, attribute: str, unedited: Readings) -> None:
        self._attribute = attribute
        self._unedited = unedited
        name, self._sign = TARGET_MEASURES[attribute]
        self._name = name
        n = len(unedited.descriptors)
        there = np.isfinite(unedited.measures[name])[:, None, None] & np.isfinite(unedited.descriptors[:, :1, None])
        self._start = np.broadcast_to(np.where(there, 0.0, np.nan), (n, len(WAYS), 1))
        self.alpha = np.array(self._start)
        self.change = np.array(self._start)
        self._costs = {cost: np.array(self._start) for cost in (IDENTITY_DISTANCE, *self._other())}
        self._costs[IDENTITY_COSINE] = 1.0 + self._start
        self._end = np.full((n, len(WAYS)), np.inf)  # alpha at which no face was found any more

    def _other(self) -> list[str]:
        return [name for name in MEASURES if name != self._name]

    def with_face(self) -> NDArray[np.bool_]:
        """Return for which faces, each way, there is a reading to start from, `[N, 2]`."""
        return np.array(np.isfinite(self._start[:, :, 0]))

    def add(self, asked: NDArray[np.intp], alphas: Array, readings: Readings) -> None:
        """Take M readings of the faces and ways `asked` `[M, 2]`, made at `alphas` `[N, 2]`."""
        face, way = asked.T
        found = np.isfinite(readings.descriptors[:, 0]) & np.isfinite(readings.measures[self._name])
        self._end[face[~found], way[~found]] = alphas[face[~found], way[~found]]
        base = self._unedited
        signs = self._sign * np.array(WAYS)[way]
        descriptors = base.descriptors[face]
        values = {
            "alpha": np.where(found, alphas[face, way], np.nan),
            "change": signs * (readings.measures[self._name] - base.measures[self._name][face]),
            IDENTITY_DISTANCE: identity_distance(readings.descriptors, descriptors),
            IDENTITY_COSINE: identity_cosine(readings.descriptors, descriptors),
            **{name: np.abs(readings.measures[name] - base.measures[name][face]) for name in self._other()},
        }

        def longer(table: Array, new: Array) -> Array:
            column = np.full((*table.shape[:2], 1), np.nan)
            column[face, way, 0] = new
            return np.concatenate([table, column], axis=2)

        self.alpha = longer(self.alpha, values.pop("alpha"))
        self.change = longer(self.change, values.pop("change"))
        self._costs = {name: longer(table, values[name]) for name, table in self._costs.items()}

    def off(self, change: float) -> Array:
        """Return how far each face's nearest reading is from a change, `[N, 2]`, infinite without any."""
        away = np.abs(self.change - change)
        return np.asarray(np.where(np.isfinite(away), away, np.inf).min(axis=2))

    def nearest(self, change: float) -> NDArray[np.intp]:
        """Return which reading is nearest to a change, `[N, 2]`."""
        away = np.abs(self.change - change)
        return np.asarray(np.where(np.isfinite(away), away, np.inf).argmin(axis=2))

    def guess(self, change: float, usual: float) -> Array:
        """Return the next alphas to read `[N, 2]`, NaN where a face has one near by, or is to be given up."""
        limit, near = _MOST * usual, near_enough(self._attribute, change)
        result = np.full(self.alpha.shape[:2], np.nan)
        for face, way in np.argwhere((self.off(change) > near) & self.with_face()):
            known = np.isfinite(self.alpha[face, way])
            alpha, seen = self.alpha[face, way][known], self.change[face, way][known]
            lost = float(self._end[face, way])  # half way there from the last face that was found, at most
            guess = _next_alpha(alpha, seen, change, usual, min(limit, (float(alpha.max()) + lost) / 2))
            guess = round(guess / usual * _GRID) * usual / _GRID
            if not np.isclose(alpha, guess, rtol=0.01, atol=0).any():
                result[face, way] = guess
        return result

    def result(self, changes: tuple[float, ...], chosen: NDArray[np.intp], count: int) -> ChangedFaces:
        """Return what was found, `chosen` `[N, 2, L]` being the readings nearest to the changes, -1 for none."""
        shape = chosen.shape
        alpha, read = np.full(shape, np.nan), np.full(shape, np.nan)
        costs = {name: np.full(shape, np.nan) for name in self._costs}
        for face, way, place in np.argwhere(chosen >= 0):
            index = int(chosen[face, way, place])
            alpha[face, way, place] = WAYS[way] * self.alpha[face, way, index]
            read[face, way, place] = self.change[face, way, index]
            known = np.flatnonzero(np.isfinite(self.change[face, way]))
            other = _other_side(self.change[face, way][known], self.change[face, way, index], changes[place])
            for name, table in self._costs.items():
                one, two = table[face, way, index], table[face, way, known[other]]
                span = self.change[face, way, known[other]] - self.change[face, way, index]
                share = (changes[place] - self.change[face, way, index]) / span if span else 0.0
                costs[name][face, way, place] = one + share * (two - one)
        return ChangedFaces(self._attribute, changes, alpha, read, costs, self._unedited, count)


def _next_alpha(alpha: Array, seen: Array, change: float, usual: float, limit: float) -> float:
    """Return the next alpha to read, given P readings (`seen` the change at each `alpha`, 0 at 0 among them)."""
    order = np.argsort(alpha)
    alpha, seen = alpha[order], seen[order]
    over = np.flatnonzero(seen >= change)
    if len(over):  # it is between two readings: linear between them, but not at their ends
        above = int(over[0])
        below = int(np.argmax(np.where(seen[:above] < change, alpha[:above], -np.inf)))
        share = (change - seen[below]) / (seen[above] - seen[below])
        return float(alpha[below] + np.clip(share, 0.1, 0.9) * (alpha[above] - alpha[below]))
    last, reached = float(alpha[-1]), float(seen[-1])
    if last == 0:
        return min(usual, limit)
    further = last * change / reached if reached > 0 else 2 * last
    return min(float(np.clip(further, 1.1 * last, 2 * last)), limit)


def _other_side(seen: Array, at: float, change: float) -> int:
    """Return which of the readings `seen` `[P]` a line from the one `at` is drawn through to say what is at `change`.

    The nearest one on the other side of the change; where there is none, the nearest one that is not too near for a
    line.
    """
    beyond = (seen - change) * (at - change) < 0
    far = np.abs(seen - at) > 0.3 * abs(change)
    for candidates in (beyond, far):
        if candidates.any():
            return int(np.argmin(np.where(candidates, np.abs(seen - change), np.inf)))
    return int(np.argmin(np.abs(seen - at)))
