"""One step of the second stage of training E and D: edits are made, looked at, and improved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.func import functional_call

from deltafast.delta.config import DeltaConfig, PreciseConfig
from deltafast.delta.editor import Editor, ends_of
from deltafast.delta.face_feedback import FaceFeedback
from deltafast.delta.flow_step import split_flat
from deltafast.delta.linear import both_directions
from deltafast.delta.training_step import learning_rate

__all__ = ["PreciseStep"]

_LEAST = 0.25  # of |α|: smaller edits say little


class PreciseStep:
    """The state of the second stage, and `advance()`, which makes one step; the same attributes as `TrainingStep`.

    Everything random comes from (seed, step). `weights`: all weights of E and D, flat, a leaf that requires a
    gradient; `optimiser`: Adam for them; `step`: int64 `[]`, steps done; `losses`: float32 `[steps]`.
    """

    def __init__(
        self,
        weights: Tensor,
        editor: Editor,
        x: Tensor,
        config: DeltaConfig,
        feedback: FaceFeedback,
        shapes: Mapping[str, tuple[int, ...]],
        commuting: Sequence[Editor] = (),
    ) -> None:
        """Begin with `weights` `[count]` on the normalised latents `x` `[S, K, n, w_dim]`, as `TrainingStep` has them.

        `shapes`: name and shape of every weight, in their order. `editor` gives normalisation, slots and frame values;
        its own weights and Δ are not touched. `commuting`: editors whose order with this one should not matter.
        """
        assert config.precise is not None
        device = feedback.faces.device
        self.weights = weights.detach().to(device, copy=True).requires_grad_()
        self.step = torch.zeros((), dtype=torch.int64)
        self.losses = torch.zeros(config.precise.steps)
        self.optimiser = torch.optim.Adam([self.weights], lr=config.precise.lr, betas=(0.9, 0.99))
        self._settings: PreciseConfig = config.precise
        self._config = config
        self._editor = editor
        self._feedback = feedback
        self._slots = list(editor.slots)
        self._x = x.to(device)  # [S, K, n, w_dim]
        self._faces = feedback.faces[:, self._slots].float()  # [faces, S, w_dim]
        self._scale = editor.normalisation.scale.to(device)
        self._mean = editor.normalisation.mean.to(device)  # [S, 1, w_dim]
        self._shapes = dict(shapes)
        self._commuting = list(commuting)

    def advance(self) -> None:
        """Make one step."""
        settings, step = self._settings, int(self.step)
        random = torch.Generator().manual_seed((self._config.seed + 1) * 1_000_003 + step)
        neutral, end, opposite = ends_of(self._editor.values)
        named = split_flat(self.weights, self._shapes)
        faces = torch.randint(len(self._faces), (settings.edits,), generator=random)
        amounts = _LEAST + (settings.far - _LEAST) * torch.rand(settings.edits, generator=random)  # α
        if opposite is not None:  # a one-sided sequence does not say what α < 0 should do; undoing, below, trains it
            amounts = amounts * torch.where(torch.rand(settings.edits, generator=random) < 0.5, -1.0, 1.0)

        forwards = self._encode(named, neutral, end)  # [S, 1, dim]
        backwards = None if opposite is None else self._encode(named, neutral, opposite)
        forwards, backwards = both_directions(forwards, backwards, self._config.negative)
        alpha = amounts.to(self.weights)  # [E]
        extent = self._config.extent
        start = self._faces[faces.to(self._faces.device)].transpose(0, 1)  # [S, E, w_dim]
        w = (start - self._mean) / self._scale
        change = self._change(named, w, extent * forwards, extent * backwards, alpha)  # [S, E, w_dim], normalised
        size = change.detach().square().sum((0, 2)).clamp_min(1e-12)  # [E]
        loss = settings.latents * self._latent_loss(named, random)
        if self._config.form == "jump":  # a flow undoes itself
            undone = change + self._change(named, w + change, -extent * forwards, -extent * backwards, alpha)
            loss = loss + settings.undo * (undone.square().sum((0, 2)) / size).mean()
        if self._commuting:
            other = self._commuting[int(torch.randint(len(self._commuting), (), generator=random))]
            turn = 2 * torch.rand(settings.edits, generator=random) - 1
            full = self._feedback.faces[faces.to(self._faces.device)].float()  # [E, num_ws, w_dim]
            codes = (extent * forwards, extent * backwards, alpha)
            loss = loss + settings.commute * self._order_loss(named, full, change, codes, other, turn.to(alpha))

        gradient = torch.zeros_like(change)
        seen = 0.0
        for k in range(settings.edits):  # one by one: the generator's activations are what takes the memory
            face = int(faces[k])
            moved = (change[:, k] * self._scale).detach().requires_grad_()  # [S, w_dim]
            ws = self._feedback.faces[face].index_add(0, torch.tensor(self._slots, device=moved.device), moved)
            on_image = self._feedback.loss(ws[None], face, float(amounts[k])) / settings.edits
            gradient[:, k] = torch.autograd.grad(on_image, moved)[0] * self._scale
            seen += float(on_image.detach())
        total = loss + (change * gradient).sum()  # its gradient is that of loss + the loss on images
        (self.weights.grad,) = torch.autograd.grad(total, self.weights)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(settings.lr, step, settings.steps)
        self.optimiser.step()
        self.losses[step] = float(loss.detach()) + seen
        self.step += 1

    def _encode(self, named: Mapping[str, Tensor], i: int, j: int) -> Tensor:
        """Mean Δ `[S, 1, dim]` over the identities, from frame i to frame j."""
        pair = self._x[:, :, i], self._x[:, :, j]  # [S, K, w_dim] each
        encoded: Tensor = functional_call(self._editor.encoder, _of("encoder.", named), pair)
        return encoded.mean(1, keepdim=True)

    def _change(
        self, named: Mapping[str, Tensor], w: Tensor, forwards: Tensor, backwards: Tensor, alpha: Tensor
    ) -> Tensor:
        """What the edit of α adds to `w` `[S, E, w_dim]`, normalised.

        `forwards`, `backwards` `[S, 1, dim]`: Δ of α = 1 and of α = -1; `alpha`: `[E]`.
        """
        decoder, amount = _of("decoder.", named), alpha[None, :, None]  # [1, E, 1]
        if self._config.form == "flow":
            steps = self._config.flow_steps
            moved: Tensor = functional_call(self._editor.decoder, decoder, (w, forwards, alpha, steps))
            return moved
        delta = torch.where(amount >= 0, amount * forwards, -amount * backwards)  # [S, E, dim]
        moved = functional_call(self._editor.decoder, decoder, (w, delta))
        rest: Tensor = functional_call(self._editor.decoder, decoder, (w, torch.zeros_like(delta)))
        return moved - rest

    def _order_loss(
        self,
        named: Mapping[str, Tensor],
        full: Tensor,
        change: Tensor,
        codes: tuple[Tensor, Tensor, Tensor],
        other: Editor,
        amounts: Tensor,
    ) -> Tensor:
        """How far apart the two orders of this edit and another one lead, squared, as a share of both edits.

        `full` `[E, num_ws, w_dim]`: the latents; `change`: what this edit adds to them, as `_change` gives it; `codes`:
        its other arguments; `amounts` `[E]`: the other one's α. For small amounts it is the bracket of the two fields.
        """
        index = torch.tensor(self._slots, device=full.device)
        then = other.edit(full.index_add(1, index, (change * self._scale).transpose(0, 1)), amounts)
        first = other.edit(full, amounts)
        w = (first[:, self._slots].transpose(0, 1) - self._mean) / self._scale
        after = (self._change(named, w, *codes) * self._scale).transpose(0, 1)  # [E, S, w_dim]
        apart = (then - first.index_add(1, index, after)).square().sum((1, 2))  # [E]
        size = (change.detach() * self._scale).square().sum((0, 2)) + (first - full).square().sum((1, 2))
        return (apart / size.clamp_min(1e-12)).mean()

    def _latent_loss(self, named: Mapping[str, Tensor], random: torch.Generator) -> Tensor:
        """What D leaves of the change of another identity, for random pairs, as a share of the change."""
        _, identities, frames, _ = self._x.shape
        count = self._settings.edits
        a = torch.randint(identities, (count,), generator=random)
        b = (a + torch.randint(1, identities, (count,), generator=random)) % identities
        i = torch.randint(frames, (count,), generator=random)
        j = (i + torch.randint(1, frames, (count,), generator=random)) % frames
        a, b, i, j = (index.to(self._x.device) for index in (a, b, i, j))
        delta = functional_call(self._editor.encoder, _of("encoder.", named), (self._x[:, a, i], self._x[:, a, j]))
        predicted: Tensor = functional_call(self._editor.decoder, _of("decoder.", named), (self._x[:, b, i], delta))
        true = self._x[:, b, j] - self._x[:, b, i]  # [S, E, w_dim]
        error: Tensor = (predicted - true).square().sum() / true.square().sum()
        return error


def _of(prefix: str, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
