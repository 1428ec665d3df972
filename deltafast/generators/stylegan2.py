"""StyleGAN2's synthesis network (arXiv 1912.04958), without ever building per-sample weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from deltafast.generators.activations import ACTIVATIONS
from deltafast.generators.epilogue import Activation, LayerConstants
from deltafast.generators.modulation import ModulatedConv3x3, ResidualSkip, ToRGB
from deltafast.generators.stylegan2_backends import Block, Pass, choose_backend
from deltafast.generators.styles import Affine, StyleBank
from deltafast.generators.synthesis import SynthesisNetwork

__all__ = ["ARCHITECTURES", "StyleGAN2Synthesis", "stylegan2_blocks", "stylegan2_slots"]

ARCHITECTURES = ("skip", "orig", "resnet")


def stylegan2_blocks(img_resolution: int) -> list[int]:
    """Return the resolutions of the blocks of a network of `img_resolution` 2^k >= 8: 4, 8, ..., img_resolution."""
    return [2**k for k in range(2, img_resolution.bit_length())]


def stylegan2_slots(img_resolution: int) -> tuple[str, ...]:
    """Return the names of the W+ slots at a resolution 2^k >= 8; `torgb` of other blocks shares the next slot."""
    convolutions = [f"b{r}.{layer}" for r in stylegan2_blocks(img_resolution)[1:] for layer in ("conv0", "conv1")]
    return ("b4.conv1", *convolutions, f"b{img_resolution}.torgb")


class StyleGAN2Synthesis(SynthesisNetwork):
    """StyleGAN2 at any resolution 2^k >= 8 (config E, F or other widths), in the parametrisation of its checkpoints.

    `tensors` are canonical and already checked. `architecture`: "skip" adds every block's image to the one before,
    up-sampled; "orig" makes an image of the last block alone; "resnet" too, with a residual beside every block.
    `activation` is "lrelu", "relu" or "linear"; `conv_clamp` limits the size of activations (None: no limit).
    `equalised_convolutions`: whether the 3x3 weights, too, have an equalised learning rate (rosinality's networks);
    demodulation takes the factor out again, all but its epsilon.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        img_resolution: int,
        conv_clamp: float | None = None,
        *,
        architecture: str = "skip",
        activation: str = "lrelu",
        equalised_convolutions: bool = False,
    ) -> None:
        super().__init__()
        self.img_resolution = img_resolution
        self.conv_clamp = conv_clamp
        self.architecture = architecture
        self.slots = stylegan2_slots(img_resolution)
        self.num_ws = len(self.slots)
        get = {name.removeprefix("synthesis."): tensor for name, tensor in tensors.items()}
        self.const = nn.Parameter(get["b4.const"])  # [C, 4, 4], or [C, 4, 2] for images half as wide
        self._names = self.slots[:-1]  # of the 3x3 convolutions
        self._sizes = stylegan2_blocks(img_resolution)
        limit = Activation(*ACTIVATIONS[activation], conv_clamp)
        self.convolutions = nn.ModuleList(self._convolution(get, name, limit) for name in self._names)
        self.torgbs = nn.ModuleDict(
            {
                f"b{size}": ToRGB(get[f"b{size}.torgb.weight"], get[f"b{size}.torgb.bias"], conv_clamp)
                for size in self._sizes
                if architecture == "skip" or size == img_resolution
            }
        )
        self.skips = nn.ModuleDict(
            {f"b{size}": ResidualSkip(get[f"b{size}.skip.weight"]) for size in self._sizes[1:]}
            if architecture == "resnet"
            else {}
        )
        affines = []
        for slot, name in enumerate(self._names):
            fan_in = get[f"{name}.weight"][0].numel()
            affines.append(self._affine(get, name, slot, fan_in**-0.5 if equalised_convolutions else 1.0))
        for i, size in enumerate(self._sizes):
            if f"b{size}" in self.torgbs:
                channels = get[f"b{size}.torgb.weight"].shape[1]
                affines.append(self._affine(get, f"b{size}.torgb", 2 * i + 1, channels**-0.5))
        self.w_dim = affines[0].weight.shape[1]
        self.styles = StyleBank(affines, self.num_ws, weight_gain=self.w_dim**-0.5)
        self.upsampling = _Upsampling(get["resample_filter"])
        self.img_channels = get[f"b{img_resolution}.torgb.bias"].shape[0]

    def _convolution(self, get: Mapping[str, Tensor], name: str, activation: Activation) -> ModulatedConv3x3:
        constants = LayerConstants(get[f"{name}.bias"], get[f"{name}.noise_const"], get[f"{name}.noise_strength"])
        if self.architecture == "resnet" and name.endswith("conv1") and name != "b4.conv1":
            activation = activation.times(0.5**0.5)  # the residual beside it has the other half of the variance
        return ModulatedConv3x3(get[f"{name}.weight"], constants, activation, up=name.endswith("conv0"))

    @staticmethod
    def _affine(get: Mapping[str, Tensor], name: str, slot: int, gain: float) -> Affine:
        return Affine(name, slot, get[f"{name}.affine.weight"], get[f"{name}.affine.bias"], gain)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the convolutions."""
        return self.const.dtype

    @property
    def img_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        height, width = self.const.shape[1:]
        return self.img_resolution, self.img_resolution * width // height

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
        """Synthesise images `[N, channels, H, W]` from `ws` `[N, num_ws, w_dim]`; see `SynthesisNetwork.forward`."""
        self.check_inputs(ws, noise_mode)
        blocks = self.blocks()
        dtype = self.computing_dtype(force_fp32)
        gradients = 2 if second_order else int(self.wants_gradient(ws))
        backend = choose_backend(Pass(blocks, ws.device, dtype, noise_mode, self.upsampling.taps, gradients))
        styles = self.styles(ws)  # name -> [N, C]
        backend.modulate(styles)  # the style and demodulation of every convolution
        x = backend.begin(self.const)  # [N, C, 4, 4]
        image: Tensor | None = None
        for block in blocks:
            x, image = backend.block(block, x, image, styles)  # [N, O, H, W], [N, channels, H, W] or None
        assert image is not None
        return image

    @property
    def feature_resolutions(self) -> tuple[int, ...]:
        """4, 8, ..., the resolution of the images."""
        return tuple(self._sizes)

    def _features(self, ws: Tensor, resolution: int, noise_mode: str, first_layer: bool) -> Tensor:
        blocks = [block._replace(torgb=None) for block in self.blocks()[: self._sizes.index(resolution) + 1]]
        gradients = int(self.wants_gradient(ws))
        backend = choose_backend(Pass(blocks, ws.device, self.dtype, noise_mode, self.upsampling.taps, gradients))
        styles = self.styles(ws)  # name -> [N, C]
        backend.modulate(styles)
        x = backend.begin(self.const)  # [N, C, 4, 4]
        for block in blocks:
            x, _ = backend.block(block, x, None, styles)  # [N, O, H, W]
        return x

    def blocks(self) -> list[Block]:
        """Return the layers of every block, from 4x4 upwards."""
        layers = dict(zip(self._names, self.convolutions, strict=True))
        torgbs, skips = dict(self.torgbs.items()), dict(self.skips.items())
        found = []
        for size in self._sizes:
            conv0, conv1 = layers.get(f"b{size}.conv0"), layers[f"b{size}.conv1"]
            torgb, skip = torgbs.get(f"b{size}"), skips.get(f"b{size}")
            assert conv0 is None or isinstance(conv0, ModulatedConv3x3)
            assert isinstance(conv1, ModulatedConv3x3)
            assert torgb is None or isinstance(torgb, ToRGB)
            assert skip is None or isinstance(skip, ResidualSkip)
            found.append(Block(f"b{size}", conv0, conv1, torgb, skip))
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by their canonical names."""
        result: dict[str, Tensor] = {"b4.const": self.const, "resample_filter": self.upsampling.full}
        for name, convolution in zip(self._names, self.convolutions, strict=True):
            assert isinstance(convolution, ModulatedConv3x3)
            constants = convolution.constants
            assert constants.noise_strength is not None
            result[f"{name}.weight"] = convolution.weight
            result[f"{name}.bias"] = constants.bias
            result[f"{name}.noise_const"] = constants.noise_const
            result[f"{name}.noise_strength"] = constants.noise_strength
        for block, torgb in self.torgbs.items():
            assert isinstance(torgb, ToRGB)
            result[f"{block}.torgb.weight"] = torgb.weight
            result[f"{block}.torgb.bias"] = torgb.constants.bias
        for block, skip in self.skips.items():
            assert isinstance(skip, ResidualSkip)
            result[f"{block}.skip.weight"] = skip.weight
        result.update(self.styles.tensors())
        return {f"synthesis.{name}": tensor for name, tensor in result.items()}


class _Upsampling(nn.Module):
    """The up-sampling filter: `full` `[k, k]`, and `taps`, its separable `[k]` form where there is one; always fp32."""

    def __init__(self, full: Tensor) -> None:
        super().__init__()
        self.full: Tensor
        self.taps: Tensor
        self.register_buffer("full", full)
        rows, columns = full.sum(1), full.sum(0)  # [k], [k]
        separable = torch.equal(rows, columns) and torch.allclose(torch.outer(rows, columns), full, rtol=1e-6, atol=0)
        self.register_buffer("taps", rows if separable else full)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Upsampling:
        def move_only(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            return result if result.dtype == tensor.dtype else tensor.to(result.device)

        super()._apply(move_only, recurse)  # type: ignore[no-untyped-call]
        return self
