"""MobileStyleGAN's synthesis network (arXiv 2104.04767): depthwise-separable convolutions and Haar wavelets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.generators.epilogue import LayerConstants
from deltafast.generators.equalised import power_of_two
from deltafast.generators.modulation import channels_last
from deltafast.generators.styles import Affine, StyleBank
from deltafast.generators.synthesis import SynthesisNetwork
from deltafast.ops import (
    ImageLayer,
    Impl,
    SeparableLayer,
    activated_depthwise,
    modulated_epilogue,
    separable_conv,
    subband_image,
    wavelet_block,
)
from deltafast.ops.by_sample import by_small_sample
from deltafast.ops.devices import takes_cuda_kernels

__all__ = ["MobileStyleGANSynthesis", "mobilestylegan_names"]


def mobilestylegan_names(img_resolution: int) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the convolutions, of the up-sampling layers and of the W+ slots at a resolution 2^k >= 16."""
    blocks = [2**k for k in range(3, img_resolution.bit_length() - 1)]  # 8, 16, ..., resolution / 2
    convolutions = ["b4.conv1"] + [f"b{r}.{layer}" for r in blocks for layer in ("conv0", "conv1")]
    return convolutions, [f"b{r}.up" for r in blocks], [*convolutions, f"b{img_resolution}"]


class _Gains(NamedTuple):
    """What the parameters of a network of some widths are multiplied by: powers of two, so that nothing is rounded."""

    affine_weight: float  # of all affine layers, beside each one's own
    of: dict[str, float]  # of every other tensor, by its canonical name without "synthesis."

    @classmethod
    def by_shape(cls, get: Mapping[str, Tensor]) -> _Gains:
        """The gains of the network that was trained: StyleGAN2's rule, by the number of inputs."""
        gains = {}
        for name, tensor in get.items():
            layer, _, kind = name.rpartition(".")
            fan_in = tensor[0].numel() if tensor.ndim > 1 else 1
            if kind == "depthwise":
                gains[name] = _DEPTHWISE_GAIN
            elif kind == "pointwise" or name.endswith("to_img.weight"):
                gains[name] = power_of_two(fan_in**-0.5)
            elif name.endswith("affine.bias"):
                gains[name] = _style_gain(get, layer.removesuffix(".affine"))
        w_dim = get["b4.conv1.affine.weight"].shape[1]
        return cls(power_of_two(w_dim**-0.5), gains)


_DEPTHWISE_GAIN = 4.0  # the published network's depthwise filters are of about this size at every resolution


def _style_gain(get: Mapping[str, Tensor], layer: str) -> float:
    """The gain of a layer's style: that of the weight which it was folded out of."""
    if layer.endswith("up"):
        return 0.5
    channels = get[f"{layer}.affine.bias"].shape[0]
    taps = 1 if layer.endswith("to_img") else 9
    return power_of_two((taps * channels) ** -0.5)


class MobileStyleGANSynthesis(SynthesisNetwork):
    """StyleGAN2 distilled to depthwise-separable convolutions; images are synthesised as wavelet subbands.

    A block is one operation: without gradients, none of the activations within it are stored; with them, each layer
    stores its result once. The published file has demodulation, the factors of the wavelet transform and the gains of
    an equalised learning rate multiplied into its weights; parameters here are divided by those gains again, each
    rounded to a power of two, so that one learning rate serves all of them. Running, the gains of a layer's weights go
    onto its style: they cost nothing, and round nothing.

    Slots: conv1 of the 4x4 block reads slot 0; in block i = 0..6 (8x8 to 512x512) the up-sampling and conv0 read
    slot 1 + 2 i, conv1 reads slot 2 + 2 i; the image layer reads the last one.

    Noise: the published network has each layer's noise strength multiplied into one fixed noise image. "const" adds
    that image, as published; "none" adds nothing; "random" adds, per sample, fresh normal noise whose standard
    deviation is the root mean square of the fixed image: StyleGAN2's fixed noise is itself drawn from N(0, 1), so
    this is the strength that was multiplied in (to within 1 / sqrt(2 H W) of it).
    """

    def __init__(self, tensors: Mapping[str, Tensor], img_resolution: int) -> None:
        super().__init__()
        self._convolutions, self._ups, slots = mobilestylegan_names(img_resolution)
        self.slots = tuple(slots)
        self.num_ws = len(slots)
        self.img_resolution = img_resolution
        get = {name.removeprefix("synthesis."): tensor for name, tensor in tensors.items()}
        gains = self._gains = _Gains.by_shape(get)
        self.input = nn.Parameter(get["input"])  # [C, 4, 4]
        self.first = nn.Parameter(channels_last(get["b4.conv1.weight"]))  # [C, C, 3, 3]
        separable = self._convolutions[1:]
        self.depthwise = nn.ParameterList(self._equalised(get, f"{n}.depthwise") for n in separable)  # [C, 1, 3, 3]
        self.pointwise = nn.ParameterList(self._equalised(get, f"{n}.pointwise") for n in separable)  # [O, C, 1, 1]
        self.constants = nn.ModuleList(
            LayerConstants(get[f"{name}.bias"], get[f"{name}.noise_const"]) for name in self._convolutions
        )
        self._image = f"b{img_resolution}.to_img"
        self.image_weight = self._equalised(get, f"{self._image}.weight")  # [4 channels, C, 1, 1]
        self.image_bias = nn.Parameter(get[f"{self._image}.bias"])  # [4 channels]
        self.img_channels = self.image_bias.shape[0] // 4
        affines = [self._affine(get, name, slots.index(name)) for name in self._convolutions]
        affines += [self._affine(get, name, slots.index(name.replace("up", "conv0"))) for name in self._ups]
        affines.append(self._affine(get, self._image, self.num_ws - 1))
        self.styles = StyleBank(affines, self.num_ws, gains.affine_weight)
        self.w_dim = self.styles.weight.shape[2]

    def _equalised(self, get: Mapping[str, Tensor], name: str) -> nn.Parameter:
        return nn.Parameter(channels_last(get[name] / self._gains.of[name]))

    def _affine(self, get: Mapping[str, Tensor], name: str, slot: int) -> Affine:
        """The affine layer before `name`, whose style takes the gains of the weights behind it."""
        own = self._gains.of[f"{name}.affine.bias"]
        behind = math.prod(self._gains.of.get(f"{name}.{kind}", 1.0) for kind in ("depthwise", "pointwise", "weight"))
        weight = get[f"{name}.affine.weight"] / (own * self._gains.affine_weight)
        return Affine(name, slot, weight, get[f"{name}.affine.bias"] / own, own * behind)

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the convolutions."""
        return self.first.dtype

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
        styles = self.styles(ws)  # name -> [N, C]
        x = self._first_convolution(styles, self.computing_dtype(force_fp32))  # [N, 4 C, 4, 4]
        if second_order:
            return self._block_by_block(x, styles, noise_mode, "reference")
        if takes_cuda_kernels(x.device):
            return self._between_convolutions(x, styles, noise_mode)
        return self._block_by_block(x, styles, noise_mode, "auto")

    @property
    def feature_resolutions(self) -> tuple[int, ...]:
        """8, 16, ..., half the resolution of the images."""
        return tuple(8 << block for block in range(len(self._ups)))

    @property
    def stops_within_blocks(self) -> bool:
        """True: the second convolution of a block costs several times as much as the first."""
        return True

    def _features(self, ws: Tensor, resolution: int, noise_mode: str, first_layer: bool) -> Tensor:
        styles = self.styles(ws)  # name -> [N, C]
        u = self._first_convolution(styles, self.dtype)  # [N, 4 C, 4, 4]
        block = self.feature_resolutions.index(resolution)
        x = self._block_by_block(u, styles, noise_mode, "auto", blocks=block if first_layer else block + 1)
        if not first_layer:
            return x
        layer = self._layer(2 * block + 1, styles, noise_mode, x)
        return separable_conv(x, *layer[:4], style=layer.style, wavelet=True)  # [N, O, 2 H, 2 W]

    def _first_convolution(self, styles: dict[str, Tensor], dtype: torch.dtype) -> Tensor:
        """The first convolution's result `[N, 4 C, 4, 4]`, before noise and activation."""
        style = styles["b4.conv1"].to(dtype)[:, :, None, None]  # [N, C, 1, 1]
        x = (self.input.to(dtype) * style).contiguous(memory_format=torch.channels_last)  # [N, C, 4, 4]
        first = self.first.to(dtype)
        return by_small_sample(lambda part: F.conv2d(part, first, padding=1), x, 16 * first.numel())

    def _block_by_block(
        self, u: Tensor, styles: dict[str, Tensor], noise_mode: str, impl: Impl, *, blocks: int | None = None
    ) -> Tensor:
        """Go on from the first convolution's result as CPUs do, one operation a block; or all of it in plain torch.

        With `blocks`, so many blocks are run and no image is made.
        """
        x = self._activated(0, u, noise_mode, impl=impl)  # [N, 4 C, 4, 4]
        dtype = x.dtype
        for block in range(len(self._ups) if blocks is None else blocks):
            first = self._layer(2 * block + 1, styles, noise_mode, x)
            second = self._layer(2 * block + 2, styles, noise_mode, x)
            is_last = blocks is None and block + 1 == len(self._ups)
            image = ImageLayer(self.image_weight.to(dtype), self.image_bias, styles[self._image]) if is_last else None
            x = wavelet_block(x, first, second, image, impl=impl)  # [N, 4 C, 2 H, 2 W], at last [N, 3, 4 H, 4 W]
        return x

    def _layer(self, layer: int, styles: dict[str, Tensor], noise_mode: str, x: Tensor) -> SeparableLayer:
        return SeparableLayer(
            self.depthwise[layer - 1].to(x.dtype),
            self.pointwise[layer - 1].to(x.dtype),
            self._noise(layer, noise_mode, x.shape[0]),
            self._layer_constants(layer).bias,
            self._style(styles, layer),
        )

    def _between_convolutions(self, u: Tensor, styles: dict[str, Tensor], noise_mode: str) -> Tensor:
        """Go on from the first convolution's result as CUDA does: one kernel between two of cuDNN's."""
        for layer in range(1, len(self._convolutions)):
            z = activated_depthwise(
                u,
                self.depthwise[layer - 1].to(u.dtype),
                self._noise(layer - 1, noise_mode, u.shape[0]),
                self._layer_constants(layer - 1).bias,
                style=self._style(styles, layer),
                wavelet=self._has_wavelet(layer),
            )  # [N, C, H, W]
            u = F.conv2d(z, self.pointwise[layer - 1].to(u.dtype))  # [N, O, H, W]
        x = self._activated(len(self._convolutions) - 1, u, noise_mode, styles[self._image])  # [N, C, H, W]
        return subband_image(F.conv2d(x, self.image_weight.to(u.dtype)), self.image_bias)  # [N, K, 2 H, 2 W]

    def _activated(
        self, layer: int, u: Tensor, noise_mode: str, next_style: Tensor | None = None, impl: Impl = "auto"
    ) -> Tensor:
        """Finish a layer on its convolution's result `u` `[N, C, H, W]`."""
        constants = self._layer_constants(layer)
        noise = constants.noise(noise_mode, u.shape[0])
        return modulated_epilogue(u, None, *noise, constants.bias, next_style=next_style, gain=1.0, impl=impl)

    def _style(self, styles: dict[str, Tensor], layer: int) -> Tensor:
        """The scales of what enters a layer: `[N, C]`, before the wavelet transform `[N, 4 C]`."""
        style = styles[self._convolutions[layer]]
        if not self._has_wavelet(layer):
            return style
        # The transform keeps the channels apart, so the style behind it can be applied before it.
        return styles[self._ups[layer // 2]] * style.repeat(1, 4)

    @staticmethod
    def _has_wavelet(layer: int) -> bool:
        return layer % 2 == 1

    def _noise(self, layer: int, noise_mode: str, samples: int) -> Tensor | None:
        """What is added to a layer's result, `[N or 1, 1, H, W]`."""
        noise, strength = self._layer_constants(layer).noise(noise_mode, samples)
        return noise if noise is None or strength is None else noise * strength

    def _layer_constants(self, layer: int) -> LayerConstants:
        constants = self.constants[layer]
        assert isinstance(constants, LayerConstants)
        return constants

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by their canonical names, as published: with their gains multiplied in."""
        result: dict[str, Tensor] = {"input": self.input, "b4.conv1.weight": self.first}
        for name, depthwise, pointwise in zip(self._convolutions[1:], self.depthwise, self.pointwise, strict=True):
            result[f"{name}.depthwise"] = depthwise
            result[f"{name}.pointwise"] = pointwise
        for name, constants in zip(self._convolutions, self.constants, strict=True):
            assert isinstance(constants, LayerConstants)
            result[f"{name}.bias"] = constants.bias
            result[f"{name}.noise_const"] = constants.noise_const
        result[f"{self._image}.weight"] = self.image_weight
        result[f"{self._image}.bias"] = self.image_bias
        for name, tensor in self.styles.tensors().items():
            own = self._gains.of[name.replace("weight", "bias")]
            result[name] = tensor * (own * self._gains.affine_weight if name.endswith("weight") else own)
        return {
            f"synthesis.{name}": tensor if "affine" in name else tensor * self._gains.of.get(name, 1.0)
            for name, tensor in result.items()
        }
