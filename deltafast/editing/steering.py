"""How far each editor must go for the image to show what was asked: `by` and `to` turned into α."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deltafast.delta.amounts import AmountReader, Unit
from deltafast.errors import InvalidInputError

__all__ = ["Reached", "Steering", "UnreachedWarning"]

_PROBE = 0.5  # α at which it is seen first what an editor does
_STEPS = 6  # corrections of α at most
_CLOSE = 0.25  # of what counts as there, at which no more corrections are made
_STRIDE = 2.0  # times the largest |α| so far: how far the next correction goes at most
_FARTHEST = 8.0  # |α| at most, of editors; directions of others have any length
_DAMPING = 1e-4


class UnreachedWarning(UserWarning):
    """The generator does not get some faces to where `by` or `to` asked for."""


@dataclass(frozen=True)
class Reached:
    """What an editor did to its attribute, as read off the images, in `unit`; NaN where no face is seen.

    Float32 tensors on the CPU: `before` `[N]`, the reading of the unedited face; `wanted`, the one asked for; `after`,
    the edited face's; `alpha`, how far the editor went for it, each `[N]`, or `[N, K]` for a sweep. `there`, bool
    likewise: whether `after` is near `wanted` (a degree; see `deltafast.delta.amounts.UNITS`).
    """

    unit: str
    before: Tensor
    wanted: Tensor
    after: Tensor
    alpha: Tensor
    there: Tensor

    def first_of_sweep(self) -> Reached:
        """Return the same without the axis of a sweep."""
        tensors = (self.wanted, self.after, self.alpha, self.there)
        return Reached(self.unit, self.before, *(tensor[:, 0] for tensor in tensors))

    @staticmethod
    def joined(parts: Sequence[Reached]) -> Reached:
        """Return the readings of consecutive samples as one."""
        names = ("before", "wanted", "after", "alpha", "there")
        return Reached(parts[0].unit, *(torch.cat([getattr(part, name) for part in parts]) for name in names))


Edit = Callable[[Tensor, Tensor], Iterator[Tensor]]  # latents [R, L, C], alphas [R, E] to images, a few at a time


class Steering:
    """Corrects α by what the images show: Newton's method, its slopes from the images too (Broyden's update).

    Edited are `attributes`, together, for one editor's edit moves another one's reading. `bounded` says of each whether
    |α| is kept below 8. `absolute`: amounts are readings to get to, else changes of the reading (of ratios: factors).
    """

    def __init__(
        self, attributes: Sequence[str], bounded: Sequence[bool], absolute: bool, device: torch.device | str
    ) -> None:
        self._attributes = list(attributes)
        self._absolute = absolute
        self._reader = AmountReader(attributes, device)
        self._within = torch.tensor([unit.within for unit in self._reader.units])  # [E]
        self._farthest = torch.tensor([_FARTHEST if bound else torch.inf for bound in bounded])  # [E]

    def check(self, editor: int, amounts: Tensor) -> None:
        """Raise `InvalidInputError` where an editor's amounts are none that a picture can show."""
        unit = self._reader.units[editor]
        if unit.ratio and not bool((amounts > 0).all()):
            raise InvalidInputError(
                f"{self._attributes[editor]} is a {unit.name}, above 0; got {float(amounts.min()):g}"
            )

    def find(self, ws: Tensor, amounts: Tensor, edit: Edit, first: int) -> tuple[Tensor, dict[str, Reached]]:
        """Return α `[M, K, E]`, float32 on the CPU, and what was reached, for M samples and K amounts of E editors.

        `ws` `[M, L, C]`; `amounts` `[M, K, E]`; `first`: the number of the first sample, by which a warning names them.
        `edit` gives images of latents and alphas.
        """
        samples, sweep, editors = amounts.shape
        asked = self._reader.scaled(amounts.float())  # [M, K, E]
        before = self._read(edit, ws, torch.zeros(samples, editors))  # [M, E]
        wanted = asked if self._absolute else before[:, None] + asked  # [M, K, E]
        rows = torch.arange(samples).repeat_interleave(sweep)  # [R]: R = M K
        best = torch.zeros(samples * sweep, editors)  # α
        found = before[rows].clone()  # [R, E]
        target = wanted.reshape(-1, editors)
        todo = self._error(found, target) > _CLOSE  # [R]; False where no face is seen
        if bool(todo.any()):
            slopes = self._slopes(edit, ws, before, todo.reshape(samples, sweep).any(1))[rows]  # [R, E, E]
            self._correct(edit, ws[rows.to(ws.device)], target, best, found, todo, slopes)
        result = self._result(before, wanted, found.reshape(wanted.shape), best.reshape(wanted.shape))
        self._warn(result, first)
        return best.reshape(wanted.shape), result

    def _slopes(self, edit: Edit, ws: Tensor, before: Tensor, chosen: Tensor) -> Tensor:
        """How each reading follows each editor's α near 0, `[M, E, E]`, of the `chosen` samples."""
        index = chosen.nonzero()[:, 0]
        slopes = torch.zeros(*before.shape, before.shape[1])
        for column in range(before.shape[1]):
            alphas = torch.zeros(len(index), before.shape[1])
            alphas[:, column] = _PROBE
            there = self._read(edit, ws[index.to(ws.device)], alphas)
            slopes[index, :, column] = ((there - before[index]) / _PROBE).nan_to_num(0.0)
        return slopes

    def _correct(
        self, edit: Edit, ws: Tensor, target: Tensor, best: Tensor, found: Tensor, todo: Tensor, slopes: Tensor
    ) -> None:
        """Bring `found` `[R, E]` nearer to `target`, by the α `best` `[R, E]`; both are written over."""
        stride = torch.full((len(best),), _STRIDE * _PROBE)  # [R]
        error = self._error(found, target)  # [R]
        for _ in range(_STEPS):
            rows = todo.nonzero()[:, 0]
            if not len(rows):
                return
            scale = self._within[:, None]  # [E, 1]
            jacobian = slopes[rows] / scale  # [T, E, E], in units of what counts as there
            missing = ((target[rows] - found[rows]) / self._within)[..., None]  # [T, E, 1]
            square = jacobian.mT @ jacobian
            damping = _DAMPING * square.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-9)
            square = square + damping[:, None, None] * torch.eye(square.shape[1])
            step = torch.linalg.solve(square, jacobian.mT @ missing)[..., 0]  # [T, E]
            longest = step.abs().amax(1).clamp_min(1e-12)  # [T]
            step = step * (stride[rows] / longest).clamp_max(1.0)[:, None]
            tried = torch.clamp(best[rows] + step, -self._farthest, self._farthest)
            step = tried - best[rows]
            reading = self._read(edit, ws[rows.to(ws.device)], tried)  # [T, E]
            change = reading - found[rows]
            surprise = change - (slopes[rows] @ step[..., None])[..., 0]  # Broyden: the slopes that would have said so
            length = step.square().sum(1).clamp_min(1e-12)
            update = surprise[..., None] * step[:, None] / length[:, None, None]
            seen = reading.isfinite().all(1)
            slopes[rows] += torch.where(seen[:, None, None], update, 0.0)
            tried_error = self._error(reading, target[rows])
            better = seen & (tried_error < error[rows])
            taken = rows[better]
            best[taken], found[taken], error[taken] = tried[better], reading[better], tried_error[better]
            largest = best[rows].abs().amax(1).clamp_min(_PROBE)
            stride[rows] = torch.where(better, _STRIDE * largest, step.abs().amax(1) / 2)
            stuck = step.abs().amax(1) < 1e-4  # at the bound, or no slope to go by
            todo[rows] = (error[rows] > _CLOSE) & ~stuck

    def _error(self, reading: Tensor, target: Tensor) -> Tensor:
        """The largest distance `[R]` of readings from targets, in units of what counts as there; -1 without a face."""
        return ((reading - target).abs() / self._within).amax(1).nan_to_num(-1.0)

    def _read(self, edit: Edit, ws: Tensor, alphas: Tensor) -> Tensor:
        return torch.cat([self._reader.read(images) for images in edit(ws, alphas.to(ws.device))]).cpu()  # [R, E]

    def _result(self, before: Tensor, wanted: Tensor, after: Tensor, alphas: Tensor) -> dict[str, Reached]:
        near = (after - wanted).abs() <= self._within  # [M, K, E]
        said = [self._reader.said(tensor) for tensor in (before, wanted, after)]
        return {
            attribute: Reached(
                self._reader.units[e].name,
                said[0][:, e],
                said[1][..., e],
                said[2][..., e],
                alphas[..., e].clone(),
                near[..., e],
            )
            for e, attribute in enumerate(self._attributes)
        }

    def _warn(self, result: dict[str, Reached], first: int) -> None:
        for attribute, unit in zip(self._attributes, self._reader.units, strict=True):
            text = _unreached(attribute, unit, result[attribute], first)
            if text:
                warnings.warn(text, UnreachedWarning, stacklevel=2)


def _unreached(attribute: str, unit: Unit, one: Reached, first: int) -> str:
    """Say what was not reached; empty where all was."""
    unseen = one.before.isnan()
    told = []
    if bool(unseen.any()):
        number = first + int(unseen.nonzero()[0])
        told.append(f"{int(unseen.sum())} of {len(unseen)} images show no face to read it off, first {number}")
    missed = ~one.there & ~unseen[:, None]
    if bool(missed.any()):
        told.append(_farthest_miss(unit, one, missed, first))
    return f"{attribute}: {'; '.join(told)}" if told else ""


def _farthest_miss(unit: Unit, one: Reached, missed: Tensor, first: int) -> str:
    distance = torch.where(missed, (one.after - one.wanted).abs(), 0.0)
    sample, k = divmod(int(distance.argmax()), distance.shape[1])
    return (
        f"{int(missed.sum())} of {missed.numel()} edits do not get to what was asked; sample "
        f"{first + sample} shows {one.after[sample, k]:.3g} ({unit.name}) of {one.wanted[sample, k]:.3g}, from "
        f"{one.before[sample]:.3g}"
    )
