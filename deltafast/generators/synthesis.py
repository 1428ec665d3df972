"""What every synthesis network offers: W+ latents in, images out."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from deltafast.arguments import PlacedModule, check_floating
from deltafast.errors import InvalidInputError

__all__ = ["NOISE_MODES", "SynthesisNetwork"]

NOISE_MODES = ("const", "random", "none")


class SynthesisNetwork(PlacedModule, ABC):
    """Base of the synthesis networks: W+ latents in, images out.

    Attributes: `num_ws`, `w_dim`, `img_resolution` (pixels), `img_channels`, and `slots`, the name of each W+ slot:
    the layer that reads it first, such as "b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0". The same name in two
    networks means the same layer of StyleGAN2, whatever its index; a bare block name such as "b1024" stands for all
    layers of that block.
    """

    num_ws: int
    w_dim: int
    img_resolution: int
    img_channels: int
    slots: tuple[str, ...]

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The precision of the convolutions: float64, float32, float16 or bfloat16."""

    @property
    def img_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        return self.img_resolution, self.img_resolution

    @property
    def feature_resolutions(self) -> tuple[int, ...]:
        """The heights at which `features` can stop, in pixels, from the smallest; empty where it cannot."""
        return ()

    @property
    def stops_within_blocks(self) -> bool:
        """Whether `features` can also stop behind the first layer of a block."""
        return False

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return next(self.parameters()).device

    def computing_dtype(self, force_fp32: bool) -> torch.dtype:
        """Return the precision of one pass's convolutions: never below float32 with `force_fp32`."""
        return torch.promote_types(self.dtype, torch.float32) if force_fp32 else self.dtype

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by their canonical names (see `deltafast.generators.checkpoints`)."""

    def check_inputs(self, ws: Tensor, noise_mode: str) -> None:
        """Raise `InvalidInputError` unless `ws` is floating `[N, num_ws, w_dim]` and `noise_mode` is known."""
        if not isinstance(ws, Tensor):
            raise InvalidInputError(
                f"ws must be a torch.Tensor [N, {self.num_ws}, {self.w_dim}], got {type(ws).__name__}"
            )
        if ws.ndim != 3 or ws.shape[1] != self.num_ws or ws.shape[2] != self.w_dim or not ws.is_floating_point():
            expected = f"floating point [N, {self.num_ws}, {self.w_dim}]"
            raise InvalidInputError(
                f"ws must be {expected}, got {ws.dtype} {list(ws.shape)}; a single W code [N, {self.w_dim}] becomes W+ "
                f"by ws.unsqueeze(1).expand(-1, {self.num_ws}, -1)"
            )
        if ws.device.type != "meta" or self.device.type != "meta":  # shapes alone, on both sides
            check_floating(ws, "ws")
        if noise_mode not in NOISE_MODES:
            raise InvalidInputError(f"noise_mode must be one of {', '.join(NOISE_MODES)}; got {noise_mode!r}")

    def features(self, ws: Tensor, resolution: int, noise_mode: str = "const", *, first_layer: bool = False) -> Tensor:
        """Return what the block of a resolution gives, `[N, C, resolution, W]`, and compute nothing behind it.

        These are the activations that the next block of `forward` reads, in the precision of the convolutions; with
        `first_layer`, those that the block's own second convolution reads. `ws` `[N, num_ws, w_dim]` and `noise_mode`
        are as in `forward`. Raises `InvalidInputError` for a resolution that is not one of `feature_resolutions`, for
        `first_layer` unless `stops_within_blocks`, and as `forward` does.
        """
        if resolution not in self.feature_resolutions:
            known = ", ".join(map(str, self.feature_resolutions)) or "none"
            raise InvalidInputError(f"features are to be had at the resolutions {known}; got {resolution!r}")
        if first_layer and not self.stops_within_blocks:
            raise InvalidInputError("features of a block's first layer are not to be had of this network")
        self.check_inputs(ws, noise_mode)
        return self._features(ws, resolution, noise_mode, first_layer)

    def _features(self, ws: Tensor, resolution: int, noise_mode: str, first_layer: bool) -> Tensor:
        """What `features` returns, its arguments checked; of networks that name `feature_resolutions`."""
        raise AssertionError(f"{type(self).__name__} names feature_resolutions but makes no features")

    def wants_gradient(self, ws: Tensor) -> bool:
        """Return whether images of `ws` will be differentiated: by `ws`, a weight, or a noise image."""
        if not torch.is_grad_enabled():
            return False
        return ws.requires_grad or any(t.requires_grad for t in (*self.parameters(), *self.buffers()))

    @abstractmethod
    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        *,
        force_fp32: bool = False,
        second_order: bool = False,
        fused_modconv: bool | None = None,
        update_emas: bool = False,
    ) -> Tensor:
        """Synthesise images `[N, img_channels, H, W]`, fp32 (or float64), from `ws` `[N, num_ws, w_dim]`.

        `force_fp32` convolves in fp32 even where the weights are fp16 or bf16. `second_order` makes everything in plain
        torch, so that a gradient can be differentiated again (path-length regularisation). `fused_modconv` and
        `update_emas`, of NVIDIA's networks, are taken and change nothing: no sample has weights of its own here, and
        StyleGAN2's synthesis has no moving averages. Raises `InvalidInputError` for a wrong shape or noise mode.
        """
