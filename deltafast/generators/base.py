"""What every generator offers: the interface that StyleGAN users know, and the names of its W+ slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltafast.arguments import PlacedModule
from deltafast.errors import InvalidInputError
from deltafast.generators.compiled import CapturedSynthesis, CompiledSynthesis
from deltafast.generators.mapping import MappingNetwork
from deltafast.generators.synthesis import SynthesisNetwork

__all__ = ["Generator", "match_slots"]


class Generator(PlacedModule):
    """A face generator: latent z to W+ (`mapping`), W+ to images (`synthesis`).

    - `G.mapping(z, c=None, truncation_psi=1, truncation_cutoff=None)` -> fp32 `[N, num_ws, w_dim]`.
    - `G.synthesis(ws, noise_mode="const" | "random" | "none", force_fp32=False, second_order=False)` -> fp32
      `[N, img_channels, H, W]` in about [-1, 1] (float64 where the generator is float64). Differentiable in `ws` and
      the weights; with `second_order=True` any number of times.
    - `G(z, c=None, truncation_psi=1, truncation_cutoff=None, update_emas=False, **synthesis)` does both.

    These are the calls of NVIDIA's stylegan2-ada-pytorch and stylegan3, so that scripts written for them run.

    On CPUs, in fp32 and on one instruction set, a sample has the same bits whatever it is batched with: its codes, its
    image, and the gradients of either by z and ws, and by what else is the sample's own. Gradients of weights are sums
    over the batch; what torch.compile or `second_order` makes may differ in the last bits. The widest networks' large
    convolutions are oneDNN's over the whole batch where a gradient is wanted; those took the same sums in every batch
    that was tried (32 to 514 channels, 8x8 to 256x256 pixels).

    `.to(torch.bfloat16)` and `.half()` cast the convolutions only; mapping, styles, biases and the result stay fp32.

    Attributes: `z_dim`, `w_dim`, `c_dim` (0 where unconditional), `num_ws`, `img_resolution`, `img_channels`,
    `w_avg` `[w_dim]`, `slots` (see `SynthesisNetwork`), `name`, `fingerprint` (sha256 of the fp32 weights, 64
    hexadecimal digits) and `w_space` (equal for two generators whose W codes mean the same). The last two are of the
    weights as they were loaded: training changes neither.
    """

    def __init__(
        self,
        mapping: MappingNetwork,
        synthesis: SynthesisNetwork,
        *,
        config: Mapping[str, Any],
        fingerprint: str,
    ) -> None:
        super().__init__()
        self.mapping = mapping
        self.synthesis = synthesis
        self.config: dict[str, Any] = dict(config)
        self.fingerprint = fingerprint
        self.name = str(config.get("name", "generator"))
        self.w_space = str(config.get("w_space") or f"sha256:{fingerprint[:16]}")

    @property
    def z_dim(self) -> int:
        """Number of components of z."""
        return self.mapping.z_dim

    @property
    def c_dim(self) -> int:
        """Number of components of the conditioning label; 0 for an unconditional generator."""
        return self.mapping.c_dim

    @property
    def w_dim(self) -> int:
        """Number of components of a W code."""
        return self.mapping.w_dim

    @property
    def num_ws(self) -> int:
        """Number of W+ slots."""
        return self.synthesis.num_ws

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the W+ slots, see `SynthesisNetwork`."""
        return self.synthesis.slots

    @property
    def img_resolution(self) -> int:
        """Height of the images, in pixels; their width too, but for networks whose constant is narrower."""
        return self.synthesis.img_resolution

    @property
    def img_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        return self.synthesis.img_size

    @property
    def img_channels(self) -> int:
        """Number of image channels."""
        return self.synthesis.img_channels

    @property
    def w_avg(self) -> Tensor:
        """The mean W code, fp32 `[w_dim]`, towards which truncation pulls."""
        return self.mapping.w_avg

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the synthesis convolutions."""
        return self.synthesis.dtype

    @property
    def device(self) -> torch.device:
        """The device that holds the weights; z, W and W+ codes are wanted there."""
        return self.mapping.w_avg.device

    @property
    def code_dtype(self) -> torch.dtype:
        """The precision of W and W+ codes, that of the mapping: float32, or float64 after `generator.double()`."""
        return self.mapping.w_avg.dtype

    def forward(
        self,
        z: Tensor | np.ndarray[Any, Any],
        c: Tensor | np.ndarray[Any, Any] | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_emas: bool = False,
        *,
        skip_w_avg_update: bool | None = None,
        **synthesis: Any,
    ) -> Tensor:
        """Sample images: `z` `[N, z_dim]`, `c` `[N, c_dim]` or None -> fp32 `[N, img_channels, H, W]`.

        The first arguments are those of `mapping`, `synthesis` those of `SynthesisNetwork.forward`: noise_mode,
        force_fp32, second_order. Raises `InvalidInputError` for a wrong shape or option.
        """
        ws = self.mapping(
            z, c, truncation_psi, truncation_cutoff, update_emas, skip_w_avg_update=skip_w_avg_update
        )  # [N, L, w_dim]
        image: Tensor = self.synthesis(ws, **synthesis)  # [N, C, H, W]
        return image

    def compiled(self, batch_size: int | None = None) -> Callable[..., Tensor]:
        """Return a faster `synthesis`: same arguments and result.

        - Without `batch_size`: compiled by `torch.compile`, for any batch, differentiable. The first call of each
          batch size takes tens of seconds. Where nothing can be compiled (no C++ compiler, no Python headers), it
          says so once in a warning and runs the plain `synthesis`, as it does with `second_order=True`.
        - With `batch_size`, for generators on a GPU: one pass recorded as a CUDA graph and replayed, for batches of up
          to that size, without gradient; see `deltafast.generators.compiled.CapturedSynthesis`. Raises
          `InvalidInputError` on a CPU, which has no graphs.
        """
        if batch_size is None:
            return CompiledSynthesis(self.synthesis)
        if self.device.type != "cuda":
            raise InvalidInputError(
                f"compiled(batch_size={batch_size}) records a CUDA graph, but this generator is on {self.device}; "
                "use compiled() there, or move the generator to a GPU first"
            )
        return CapturedSynthesis(self.synthesis, batch_size)

    def tensors(self) -> dict[str, Tensor]:
        """Return all weights by their canonical names, as `save_generator` writes them."""
        return {**self.mapping.tensors(), **self.synthesis.tensors()}


def match_slots(source: Sequence[str], target: Sequence[str]) -> tuple[int | None, ...]:
    """For each W+ slot of `target`, return the index of the slot of `source` that drives it, or None.

    A slot is driven by the one of the same name. A bare block name ("b1024", MobileStyleGAN's last slot) drives all
    layers of that block, and is driven by the block's first layer: its slot is also what the block below converts
    to RGB with in StyleGAN2.
    """
    index = {name: i for i, name in enumerate(source)}
    first_of_block: dict[str, int] = {}
    for i, name in enumerate(source):
        first_of_block.setdefault(name.partition(".")[0], i)
    result: list[int | None] = []
    for name in target:
        block, _, layer = name.partition(".")
        if name in index:
            result.append(index[name])
        elif layer:
            result.append(index.get(block))
        else:
            result.append(first_of_block.get(block))
    return tuple(result)
