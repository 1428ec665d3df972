"""What the benchmarks of E and D share: a training of the bundled editors' size, and the edit, each ours and plain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.baselines.delta import PlainTraining, plain_edit, plain_loss
from deltafast.delta import DeltaConfig, Editor, load_editor
from deltafast.delta.training_step import TrainingStep
from deltafast.ops import (
    DeltaSizes,
    delta_flow,
    delta_flow_reference,
    delta_loss,
    philox_normal_reference,
    split_weights,
    weight_shapes,
)
from deltafast.ops.tolerance import allowed_error, max_error

__all__ = ["EditCase", "FlowCase", "TrainingCase", "as_graph"]

SHIPPED = DeltaSizes(slots=6, w_dim=512, width=32, layers=1, dim=16)  # of the bundled editors
_STEPS = 20_000  # more than a benchmark makes
_IDENTITIES, _FRAMES = 50, 7  # as the bundled editors were trained


@dataclass(frozen=True)
class TrainingCase:
    """Sizes of a training and its pairs of identities a step; each is with all its frame pairs."""

    pairs: int
    sizes: DeltaSizes = SHIPPED

    @property
    def config(self) -> DeltaConfig:
        """The config that our training takes."""
        sizes = self.sizes
        return DeltaConfig(
            dim=sizes.dim, width=sizes.width, layers=sizes.layers, steps=_STEPS, pairs=self.pairs, noise_encoder=0.1
        )

    def inputs(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Weights, flat, and normalised latents `[S, K, n, w_dim]`."""
        random = torch.Generator().manual_seed(0)
        sizes = self.sizes
        parts = [
            torch.randn(shape, generator=random).flatten() * (0.1 if shape[1] == 1 else shape[1] ** -0.5)
            for shape in weight_shapes(sizes).values()
        ]
        x = torch.randn(sizes.slots, _IDENTITIES, _FRAMES, sizes.w_dim, generator=random)
        return torch.cat(parts).to(device), x.to(device)

    def ours(self, device: torch.device) -> TrainingStep:
        """Our training."""
        weights, x = self.inputs(device)
        return TrainingStep(weights, x, self.config)

    def plain(self, device: torch.device) -> PlainTraining:
        """The same in plain torch."""
        weights, x = self.inputs(device)
        return PlainTraining(weights, x, self.sizes, self.pairs, lr=self.config.lr, noise=0.1)

    def check(self, device: torch.device) -> None:
        """Fail unless our loss and gradients are those of the plain form in float64, within the table of tolerances."""
        weights, x = self.inputs(device)
        random = torch.Generator().manual_seed(1)
        first, second = torch.randint(_IDENTITIES, (2, self.pairs), generator=random).to(device)
        key = {name: torch.tensor(k, device=device) for k, name in enumerate(("seed", "step", "first_sample"))}
        sizes = self.sizes
        noise = [
            0.1
            * philox_normal_reference(self.pairs, sizes.slots * sizes.w_dim, stream=stream, **key)
            .reshape(self.pairs, sizes.slots, 1, sizes.w_dim)
            .transpose(0, 1)
            for stream in (0, 1)
        ]

        def plain(dtype: torch.dtype) -> list[Tensor]:
            flat = weights.to(dtype).requires_grad_()
            a, b = x[:, first].to(dtype), x[:, second].to(dtype)
            named = split_weights(flat, sizes)
            loss = plain_loss(named, sizes.layers, a, b, *(n.to(dtype) for n in noise))
            return [loss, *torch.autograd.grad(loss, flat)]

        flat = weights.clone().requires_grad_()
        network = {"width": sizes.width, "layers": sizes.layers, "dim": sizes.dim}
        options = {"noise_encoder": 0.1, "noise_decoder": 0.1}
        loss = delta_loss(x, first, second, flat, **network, **key, **options, impl="native")  # type: ignore[arg-type]
        ours = [loss, *torch.autograd.grad(loss, flat)]
        for index, (result, theirs, exact) in enumerate(
            zip(ours, plain(torch.float32), plain(torch.float64), strict=True)
        ):
            direction = "backward" if index else "forward"
            error, allowed = max_error(result, exact), allowed_error("delta_loss", direction, theirs, exact)
            if error > allowed:
                raise AssertionError(f"delta_loss {direction}: error {error:.3g}, allowed {allowed:.3g}")


class EditCase:
    """The bundled yaw editor on `samples` latents `[N, 16, 512]`, each with an alpha of its own."""

    def __init__(self, samples: int, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.editor: Editor = load_editor("yaw").to(device)
        random = torch.Generator().manual_seed(2)
        ws = torch.randn(samples, self.editor.num_ws, self.editor.w_dim, generator=random)
        self.ws = ws.to(device, dtype)
        self.alpha = (2 * torch.rand(samples, generator=random) - 1).to(device)
        self._parameters = dict(self.editor.named_parameters())

    def ours(self, ws: Tensor) -> Tensor:
        """Edit."""
        return self.editor.edit(ws, self.alpha)

    def plain(self, ws: Tensor) -> Tensor:
        """Edit in plain torch."""
        editor = self.editor
        delta = editor.delta[list(editor.slots)]  # [S, dim]
        normalisation = editor.normalisation
        slots = list(editor.slots)
        return plain_edit(self._parameters, ws, self.alpha, delta, slots, normalisation.mean, normalisation.scale)

    def check(self) -> None:
        """Fail unless our edit is the plain one's, within the table of tolerances."""
        ours, theirs = self.ours(self.ws), self.plain(self.ws)
        self.editor.double()
        exact = self.plain(self.ws.double())
        self.editor.float()
        error, allowed = max_error(ours, exact), allowed_error("delta_edit", "forward", theirs, exact)
        if error > allowed:
            raise AssertionError(f"delta_edit: error {error:.3g}, allowed {allowed:.3g}")


class FlowCase:
    """An edit as a flow of a bundled editor's size, on `samples` latents `[N, 16, 512]`, each for a time of its own.

    The times are as long as `alpha`, of either sign; the weights are random.
    """

    def __init__(self, samples: int, device: torch.device, alpha: float, sizes: DeltaSizes = SHIPPED) -> None:
        random = torch.Generator().manual_seed(2)

        def normal(*shape: int, scale: float = 1.0) -> Tensor:
            return (scale * torch.randn(shape, generator=random)).to(device)

        slots, width, w_dim = sizes.slots, sizes.width, sizes.w_dim
        self.ws = normal(samples, 16, w_dim)
        self._index = torch.arange(slots, device=device)
        self._small = {
            "alpha": alpha * normal(samples).sign(),
            "direction": normal(1, slots, width, scale=0.5),
            "latent_weight": normal(slots, w_dim, width, scale=w_dim**-0.5),
            "latent_bias": normal(slots, width),
            "hidden_weight": normal(sizes.layers - 1, slots, width, width, scale=width**-0.5),
            "hidden_bias": normal(sizes.layers - 1, slots, width),
            "output_weight": normal(slots, width, w_dim, scale=width**-0.5),
        }

    def ours(self, ws: Tensor) -> Tensor:
        """Follow the flow."""
        return delta_flow(ws, index=self._index, **self._small, impl="native")

    def plain(self, ws: Tensor) -> Tensor:
        """Follow it in plain torch."""
        return delta_flow_reference(ws, index=self._index, **self._small)

    def check(self) -> None:
        """Fail unless ours is the plain one's, within the table of tolerances, and 0.1 % of the flow itself."""
        small = {name: tensor.double() for name, tensor in self._small.items()}
        wide = self.ws.double()
        ours, theirs = self.ours(self.ws), self.plain(self.ws)
        exact = delta_flow_reference(wide, index=self._index, **small)
        error, allowed = max_error(ours, exact), allowed_error("delta_flow", "forward", theirs, exact)
        if error > allowed:
            raise AssertionError(f"delta_flow: error {error:.3g}, allowed {allowed:.3g}")
        flow = delta_flow_reference(wide, index=self._index, **small, steps=64)
        share = float((ours.double() - flow).norm() / (flow - wide).norm())
        if share > 1e-3:
            raise AssertionError(f"delta_flow: {share:.2g} of the edit away from the flow, allowed 0.001")


def as_graph(step: Callable[[], object]) -> Callable[[], None]:
    """Return `step` as one CUDA graph, after three steps that warm it up."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph.replay
