"""One step of training E and D: pairs of identities, noise, loss, gradient, Adam; on CUDA replayed as one graph."""

from __future__ import annotations

import torch
from torch import Tensor

from deltafast.delta.config import DeltaConfig
from deltafast.ops import delta_loss
from deltafast.schedule import cosine_rate

__all__ = ["TrainingStep", "learning_rate"]


class TrainingStep:
    """The state of a training on one device, and `advance()`, which makes one step.

    Everything random comes from (seed, step): the pairs of identities from a table made beforehand, the noise from
    Philox. On CUDA the first call runs the step, then captures it as a graph; all others replay it. The step's number
    is a tensor that the graph itself raises, so every replay has its own pairs, noise and learning rate.

    - `weights`: all weights of E and D, flat (`deltafast.ops.weight_shapes`), a leaf that requires a gradient.
    - `optimiser`: Adam for them. `step`: int64 `[]`, steps done. `losses`: float32 `[steps]`, those of the steps done.
    """

    def __init__(self, weights: Tensor, x: Tensor, config: DeltaConfig) -> None:
        """Begin with `weights` `[count]` on the normalised latents `x` `[S, K, n, w_dim]`, both on one device."""
        device = x.device
        self.weights = weights.detach().clone().requires_grad_()
        self.step = torch.zeros((), dtype=torch.int64, device=device)
        self.losses = torch.zeros(config.steps, device=device)
        self._x = x
        self._config = config
        self._seed = torch.tensor(config.seed, device=device)
        self._first_sample = torch.zeros((), dtype=torch.int64, device=device)
        generator = torch.Generator().manual_seed(config.seed)
        identities, shape = x.shape[1], (config.steps, config.pairs)
        first = torch.randint(identities, shape, generator=generator)
        second = (first + torch.randint(1, identities, shape, generator=generator)) % identities
        self._pairs = torch.stack([first, second], 1).to(device)  # [steps, 2, P]
        rates = [learning_rate(config.lr, k, config.steps) for k in range(config.steps)]
        self._rates = torch.tensor(rates, device=device)
        self._rate = torch.zeros((), device=device)
        self.optimiser = torch.optim.Adam(
            [self.weights], lr=self._rate, betas=(0.9, 0.99), fused=True, capturable=device.type == "cuda"
        )
        self._graph: torch.cuda.CUDAGraph | None = None

    def loss(self) -> Tensor:
        """Return the loss of the step that comes next, a scalar that can be differentiated."""
        pairs = self._pairs.index_select(0, self.step[None])[0]  # [2, P]
        config = self._config
        return delta_loss(
            self._x,
            pairs[0],
            pairs[1],
            self.weights,
            width=config.width,
            dim=config.dim,
            layers=config.layers,
            seed=self._seed,
            step=self.step,
            first_sample=self._first_sample,
            noise_encoder=config.noise_encoder,
            noise_decoder=config.noise_decoder,
            lambda_a=config.lambda_a,
            lambda_b=config.lambda_b,
        )

    def advance(self) -> None:
        """Make one step."""
        if self._x.device.type != "cuda":
            self._make()
        elif self._graph is not None:
            self._graph.replay()
        else:
            self._graph = self._capture()

    def _make(self) -> None:
        at = self.step[None]  # [1]
        self._rate.copy_(self._rates.index_select(0, at)[0])
        loss = self.loss()
        (self.weights.grad,) = torch.autograd.grad(loss, self.weights)
        self.optimiser.step()
        self.losses.index_copy_(0, at, loss.detach()[None].float())
        self.step += 1

    def _capture(self) -> torch.cuda.CUDAGraph:
        """Make one step as it is, on a stream of its own as capturing asks for, and capture the next one unrun."""
        stream = torch.cuda.Stream(self._x.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(self._x.device))
        with torch.cuda.stream(stream):
            self._make()
        torch.cuda.current_stream(self._x.device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._x.device), torch.cuda.graph(graph, stream=stream):
            self._make()
        return graph


def learning_rate(peak: float, step: int, steps: int) -> float:
    """Return the rate of a step: twenty steps of warming up, then half a cosine to 0."""
    return peak * cosine_rate(step, steps, 20)
