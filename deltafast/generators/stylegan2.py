"""StyleGAN2's synthesis network (arXiv 1912.04958), skip architecture, without ever building per-sample weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.generators.base import SynthesisNetwork
from deltafast.generators.epilogue import LayerConstants
from deltafast.generators.precision import LOW_PRECISION, FullPrecisionModule
from deltafast.generators.styles import Affine, StyleBank
from deltafast.ops import epilogue_to_rgb, modulated_conv2d, pack_conv3x3, to_rgb
from deltafast.ops.devices import takes_cuda_kernels

__all__ = ["StyleGAN2Synthesis", "stylegan2_slots"]

_EPSILON = 1e-8


def stylegan2_slots(img_resolution: int) -> tuple[str, ...]:
    """Return the names of the W+ slots at a resolution 2^k >= 8; `torgb` of other blocks shares the next slot."""
    blocks = [2**k for k in range(3, img_resolution.bit_length())]  # 8, 16, ..., resolution
    convolutions = [f"b{r}.{layer}" for r in blocks for layer in ("conv0", "conv1")]
    return ("b4.conv1", *convolutions, f"b{img_resolution}.torgb")


class ModulatedConv3x3(nn.Module):
    """A modulated and demodulated 3x3 convolution, with or without up-sampling by 2.

    y[n, o] = demod[n, o] * sum_i W[o, i] * (s[n, i] x[n, i]) with
    demod[n, o] = rsqrt(sum_i s[n, i]^2 sum_k W[o, i, k]^2 + 1e-8): the style goes onto the activations, demodulation
    onto the result, and the weights stay those of all samples.

    The weights are kept divided by a power of two per output channel, and in fp16 and bf16 styles are divided by
    their largest value, so that sums stay in range; both factors return, in fp32, with the demodulation
    (StyleGAN2-ADA, arXiv 2006.06676, does the same).
    """

    def __init__(self, weight: Tensor, *, up: bool) -> None:
        super().__init__()
        self.up = up
        reach = weight.flatten(1).abs().amax(1) * math.sqrt(weight[0].numel())  # [O]
        exponent = torch.log2(reach.clamp_min(torch.finfo(torch.float32).tiny)).ceil()
        scale = torch.exp2(exponent.clamp(-60, 60))  # [O], exact powers of two: nothing is rounded
        self.weight = nn.Parameter(_channels_last(weight / scale[:, None, None, None]))  # [O, C, 3, 3]
        self.demodulation = _Demodulation(scale, self.weight.detach())
        self._packed = _PackedWeight(up)

    def forward(
        self,
        x: Tensor,
        style: Tensor | None,
        demod: Tensor,
        constants: LayerConstants,
        noise_mode: str,
        taps: Tensor,
        next_style: Tensor | None = None,
    ) -> Tensor:
        """Make of `x` `[N, C, H, W]` the activations `[N, O, H, W]` or `[N, O, 2 H, 2 W]`, `next_style` multiplied in.

        `style` `[N, C]`, None where `x` has it already, and `demod` `[N, O]` are those of `normalised_style`.
        """
        needs_gradient = torch.is_grad_enabled() and (x.requires_grad or demod.requires_grad)
        return modulated_conv2d(
            x,
            self.weight,
            style,
            demod,
            *constants.noise(noise_mode, x.shape[0]),
            constants.bias,
            up=2 if self.up else 1,
            f=taps if self.up else None,
            packed=None if needs_gradient else self._packed.get(self.weight),
            next_style=next_style,
            gain=constants.gain,
            clamp=constants.clamp,
        )

    def with_image(
        self,
        x: Tensor,
        demod: Tensor,
        constants: LayerConstants,
        noise_mode: str,
        torgb: ToRGB,
        rgb_style: Tensor,
        image: Tensor | None,
        taps: Tensor,
        next_style: Tensor | None,
    ) -> tuple[Tensor | None, Tensor]:
        """Convolve `x` `[N, C, H, W]`, which has its style already, and convert the result to an image by `torgb`.

        Returns the activations `[N, O, H, W]`, `next_style` multiplied in, or None where that is None, and the image.
        """
        u = F.conv2d(x, self.weight, padding=1)  # [N, O, H, W]
        return epilogue_to_rgb(
            u,
            demod,
            *constants.noise(noise_mode, x.shape[0]),
            constants.bias,
            rgb_weight=torgb.weight,
            rgb_style=rgb_style,
            rgb_bias=torgb.constants.bias,
            rgb_clamp=torgb.clamp,
            skip=image,
            f=None if image is None else taps,
            next_style=next_style,
            keep=next_style is not None,
            gain=constants.gain,
            clamp=constants.clamp,
        )

    def normalised_style(self, style: Tensor) -> tuple[Tensor, Tensor]:
        """Return the style `[N, C]` to multiply in and the demodulation `[N, O]` to go with it, both fp32."""
        demod = self.demodulation(style, self.weight)  # [N, O]
        if self.weight.dtype in LOW_PRECISION:
            largest = style.detach().abs().amax(1, keepdim=True).clamp_min(_EPSILON)  # [N, 1]
            return style / largest, demod * largest
        return style, demod

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ModulatedConv3x3:
        self._packed = _PackedWeight(self.up)  # of another device or dtype from now on
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def full_weight(self) -> Tensor:
        """The weight `[O, C, 3, 3]` as the checkpoint has it."""
        return self.weight * self.demodulation.scale.to(self.weight.dtype)[:, None, None, None]


class _PackedWeight:
    """The weight as the CPU's convolution kernel takes it, made at the first use and after every change."""

    def __init__(self, up: bool) -> None:
        self._up = up
        self._packed: Tensor | None = None
        self._source: tuple[int, int, torch.dtype] | None = None

    def get(self, weight: Tensor) -> Tensor | None:
        """Return the packed `weight`; None where the library's convolution is to run."""
        if takes_cuda_kernels(weight) or weight.device.type != "cpu":
            return None
        if weight.dtype != torch.float32 or weight.requires_grad:
            return None
        if not torch.compiler.is_compiling():
            state = _state(weight)
            if state != self._source:
                self._packed = pack_conv3x3(weight, up=2 if self._up else 1)
                self._source = state
        return self._packed


class _Demodulation(FullPrecisionModule):
    """Demodulation coefficients, in fp32, from the sums of the squared weights."""

    def __init__(self, scale: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.scale: Tensor
        self.squares: Tensor
        self.register_buffer("scale", scale)  # [O]
        self.register_buffer("squares", _squares(weight), persistent=False)  # [O, C]
        self._source = _state(weight)

    def forward(self, style: Tensor, weight: Tensor) -> Tensor:
        """Return `scale * demod` `[N, O]` for `style` `[N, C]` and the (divided) `weight` `[O, C, 3, 3]`."""
        if weight.requires_grad:  # being trained: the sums change from step to step
            squares = _squares(weight.to(style.dtype))  # [O, C]
        else:
            self._refresh(weight)
            squares = self.squares  # [O, C]
        # The checkpoint's weights are scale times ours: rsqrt(scale^2 q + eps) * scale = rsqrt(q + eps / scale^2).
        return torch.rsqrt(style.square() @ squares.t() + _EPSILON / self.scale.square())  # [N, O]

    def _refresh(self, weight: Tensor) -> None:
        """Recompute the sums where the weight was changed in place or replaced since they were taken."""
        if torch.compiler.is_compiling() or weight.dtype in LOW_PRECISION or weight.is_inference():
            return
        state = _state(weight)
        if state != self._source:
            self.squares = _squares(weight.detach())
            self._source = state


def _squares(weight: Tensor) -> Tensor:
    return weight.square().sum((2, 3))  # [O, C]


def _state(weight: Tensor) -> tuple[int, int, torch.dtype]:
    return weight.data_ptr(), 0 if weight.is_inference() else weight._version, weight.dtype


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to image channels, not demodulated."""

    def __init__(self, weight: Tensor, bias: Tensor, clamp: float | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(_channels_last(weight))  # [channels, C, 1, 1]
        self.constants = _Bias(bias)
        self.clamp = clamp

    def forward(self, x: Tensor, style: Tensor, image: Tensor | None, taps: Tensor) -> Tensor:
        """Convert `x` `[N, C, H, W]` under `style` `[N, C]` to fp32 `[N, channels, H, W]`, `image` up-sampled added."""
        f = None if image is None else taps
        return to_rgb(x, self.weight, style, self.constants.bias, clamp=self.clamp, skip=image, f=f)


class _Bias(FullPrecisionModule):
    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias)  # [channels]


class StyleGAN2Synthesis(SynthesisNetwork):
    """StyleGAN2 at any resolution 2^k >= 8 (config E, F or other widths), skip connections to the image.

    `tensors` are canonical and already checked; `conv_clamp` limits the size of activations (None: no limit).
    """

    def __init__(self, tensors: Mapping[str, Tensor], img_resolution: int, conv_clamp: float | None) -> None:
        super().__init__()
        self.img_resolution = img_resolution
        self.conv_clamp = conv_clamp
        self.slots = stylegan2_slots(img_resolution)
        self.num_ws = len(self.slots)
        self._names = self.slots[:-1]
        self._blocks = [name.partition(".")[0] for name in self._names if name.endswith("conv1")]
        get = {name.removeprefix("synthesis."): tensor for name, tensor in tensors.items()}
        self.const = nn.Parameter(get["b4.const"])  # [C, 4, 4]
        self.convolutions = nn.ModuleList(
            ModulatedConv3x3(get[f"{name}.weight"], up=name.endswith("conv0")) for name in self._names
        )
        self.constants = nn.ModuleList(self._layer_constants(get, name) for name in self._names)
        self.torgbs = nn.ModuleList(
            ToRGB(get[f"{block}.torgb.weight"], get[f"{block}.torgb.bias"], conv_clamp) for block in self._blocks
        )
        affines = [self._affine(get, name, slot) for slot, name in enumerate(self._names)]
        affines += [self._affine(get, f"{block}.torgb", 2 * i + 1) for i, block in enumerate(self._blocks)]
        self.styles = StyleBank(affines, self.num_ws)
        self.upsampling = _Upsampling(get["resample_filter"])
        self.w_dim = self.styles.weight.shape[2]
        self.img_channels = get["b4.torgb.bias"].shape[0]

    def _layer_constants(self, get: Mapping[str, Tensor], name: str) -> LayerConstants:
        noise, strength = get[f"{name}.noise_const"], get[f"{name}.noise_strength"]
        return LayerConstants(get[f"{name}.bias"], noise, strength, gain=math.sqrt(2), clamp=self.conv_clamp)

    @staticmethod
    def _affine(get: Mapping[str, Tensor], name: str, slot: int) -> Affine:
        return Affine(name, slot, get[f"{name}.affine.weight"], get[f"{name}.affine.bias"])

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the convolutions."""
        weight = self.const
        return weight.dtype

    def forward(self, ws: Tensor, noise_mode: str = "const") -> Tensor:
        """Synthesise fp32 images `[N, channels, H, W]` from `ws` `[N, num_ws, w_dim]`; see `Generator`."""
        self.check_inputs(ws, noise_mode)
        styles = self.styles(ws)  # name -> [N, C]
        modulations: list[tuple[Tensor, Tensor]] = []  # style [N, C] and demodulation [N, O] of each convolution
        for name, convolution in zip(self._names, self.convolutions, strict=True):
            assert isinstance(convolution, ModulatedConv3x3)
            modulations.append(convolution.normalised_style(styles[name]))
        image: Tensor | None = None
        taps = self.upsampling.taps
        x = self.const * modulations[0][0].to(self.const.dtype)[:, :, None, None]  # [N, C, 4, 4], its style applied
        by_kernel = takes_cuda_kernels(ws)  # one for the end of a block: activations, the next style, and the image
        for layer, name in enumerate(self._names):
            convolution, constants, demod = self.convolutions[layer], self.constants[layer], modulations[layer][1]
            next_style = modulations[layer + 1][0] if layer + 1 < len(self._names) else None  # [N, O]
            if name.endswith("conv0"):  # conv1 alone reads it: its style is multiplied in by the epilogue
                style = None if by_kernel else modulations[layer][0]
                x = convolution(x, style, demod, constants, noise_mode, taps, next_style)
                continue
            torgb, rgb_style = self.torgbs[layer // 2], styles[f"{self._blocks[layer // 2]}.torgb"]
            if by_kernel:
                assert isinstance(convolution, ModulatedConv3x3)
                assert isinstance(constants, LayerConstants)
                assert isinstance(torgb, ToRGB)
                kept, image = convolution.with_image(
                    x, demod, constants, noise_mode, torgb, rgb_style, image, taps, next_style
                )
                x = x if kept is None else kept  # None behind the last block
            else:
                x = convolution(x, None, demod, constants, noise_mode, taps)  # [N, O, H, W]
                image = torgb(x, rgb_style, image, taps)  # [N, channels, H, W]
        assert image is not None
        return image

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights by their canonical names."""
        result: dict[str, Tensor] = {"b4.const": self.const, "resample_filter": self.upsampling.full}
        for name, convolution, constants in zip(self._names, self.convolutions, self.constants, strict=True):
            assert isinstance(convolution, ModulatedConv3x3)
            assert isinstance(constants, LayerConstants)
            result[f"{name}.weight"] = convolution.full_weight()
            result[f"{name}.bias"] = constants.bias
            result[f"{name}.noise_const"] = constants.noise_const
            result[f"{name}.noise_strength"] = constants.noise_strength
        for block, torgb in zip(self._blocks, self.torgbs, strict=True):
            assert isinstance(torgb, ToRGB)
            result[f"{block}.torgb.weight"] = torgb.weight
            result[f"{block}.torgb.bias"] = torgb.constants.bias
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


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)
