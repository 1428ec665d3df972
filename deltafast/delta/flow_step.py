"""One step of training E and D of form="flow": the paper's loss, with its noise, along the flow."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from deltafast.delta.config import DeltaConfig
from deltafast.delta.flow import ChartEncoder, FlowDecoder
from deltafast.delta.training_step import TrainingStep
from deltafast.ops import philox_normal

__all__ = ["FlowTrainingStep", "split_flat"]


class FlowTrainingStep(TrainingStep):
    """`TrainingStep` for a chart and a field: the same pairs, noise, optimiser and state, another loss.

    With a = x[:, first[p]], b = x[:, second[p]] and Δ_ij = c(a_j + n_a) - c(a_i + n_a), the flow of Δ_ij for time 1
    from b_i + n_b should change it by b_j - b_i, and likewise for a, for all i ≠ j: both directions, and, the chart
    being additive, every stretch of the path.
    """

    def __init__(
        self, weights: Tensor, x: Tensor, config: DeltaConfig, encoder: ChartEncoder, decoder: FlowDecoder
    ) -> None:
        """Begin with `weights`, the parameters of `encoder` and `decoder` flat, one after the other, by their order.

        `x`: normalised latents `[S, K, n, w_dim]`. The modules lend their form; their own weights are not touched.
        """
        super().__init__(weights, x, config)
        self._encoder = encoder
        self._decoder = decoder
        self._shapes = {
            f"{prefix}.{name}": tuple(parameter.shape)
            for prefix, module in (("encoder", encoder), ("decoder", decoder))
            for name, parameter in module.named_parameters()
        }
        frames = x.shape[2]
        rows = [(i, j) for i in range(frames) for j in range(frames) if i != j]
        self._from = torch.tensor([i for i, _ in rows], device=x.device)  # [n (n - 1)]
        self._to = torch.tensor([j for _, j in rows], device=x.device)
        self._lambdas = torch.tensor([config.lambda_a, config.lambda_b], device=x.device)
        middle = x - x.mean(2, keepdim=True)
        self._spread = 2 * frames * middle.square().sum((0, 2, 3))  # [K]: sum over i ≠ j and slots of |x_j - x_i|²

    def loss(self) -> Tensor:
        """Return the loss of the step that comes next, a scalar that can be differentiated."""
        config, x = self._config, self._x
        slots, _, frames, w_dim = x.shape
        pairs = self._pairs.index_select(0, self.step[None])[0]  # [2, P]
        count, rows = pairs.shape[1], len(self._from)
        named = split_flat(self.weights, self._shapes)
        noise = [
            philox_normal(
                count, slots * w_dim, seed=self._seed, step=self.step, first_sample=self._first_sample, stream=stream
            )
            .reshape(count, slots, 1, w_dim)
            .transpose(0, 1)  # [S, P, 1, w_dim]
            for stream in (0, 1)
        ]
        both = x.index_select(1, pairs.flatten())  # [S, 2 P, n, w_dim]: a, then b
        a = both[:, :count] + config.noise_encoder * noise[0]
        encoder, decoder = _of("encoder.", named), _of("decoder.", named)
        chart = _call(self._encoder, "chart", encoder, a.flatten(1, 2))
        chart = chart.reshape(slots, count, frames, -1)  # [S, P, n, dim]
        delta = (chart.index_select(2, self._to) - chart.index_select(2, self._from)).flatten(1, 2)  # [S, P rows, dim]
        begun = both + config.noise_decoder * noise[1].repeat(1, 2, 1, 1)  # n_b for both
        latent, output = decoder["latent.weight"], decoder["output.weight"]
        start = torch.baddbmm(decoder["latent.bias"], begun.flatten(1, 2), latent)  # [S, 2 P n, width]
        start = start.reshape(slots, 2 * count, frames, -1).index_select(2, self._from).flatten(1, 2)
        time = start.new_ones(start.shape[1])
        z = _call(
            self._decoder, "coordinates", decoder, start, delta.repeat(1, 2, 1), time, config.flow_steps
        )  # [S, 2 P rows, width]
        # |z W - t|² = z W Wᵀ zᵀ - 2 z W tᵀ + |t|²: the changes [S, 2 P rows, w_dim] are never built.
        squares = torch.bmm(output, output.transpose(1, 2))  # [S, width, width]
        reached = torch.bmm(both.flatten(1, 2), output.transpose(1, 2)).reshape(slots, 2 * count, frames, -1)
        target = (reached.index_select(2, self._to) - reached.index_select(2, self._from)).flatten(1, 2)
        error = (z * (torch.bmm(z, squares) - 2 * target)).sum((0, 2)).reshape(2, count * rows).sum(1)  # [2]
        spread = self._spread.index_select(0, pairs.flatten()).reshape(2, count).sum(1)
        return (self._lambdas * (error + spread)).sum() / (count * rows * slots * w_dim)


class _Method(torch.nn.Module):
    """A method of a module as a module's call, which is what `functional_call` takes other weights for."""

    def __init__(self, module: torch.nn.Module, name: str) -> None:
        super().__init__()
        self.module = module
        self._name = name

    def forward(self, *arguments: object) -> Tensor:
        result: Tensor = getattr(self.module, self._name)(*arguments)
        return result


def split_flat(weights: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Return a flat tensor as views of these shapes, by name."""
    parts = torch.split(weights, [torch.Size(shape).numel() for shape in shapes.values()])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _call(module: torch.nn.Module, method: str, weights: Mapping[str, Tensor], *arguments: object) -> Tensor:
    """Call a method of `module` with other weights than its own."""
    inside = {f"module.{name}": value for name, value in weights.items()}
    result: Tensor = functional_call(_Method(module, method), inside, arguments)
    return result


def _of(prefix: str, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
