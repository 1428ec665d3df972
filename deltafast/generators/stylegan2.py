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
from deltafast.ops import upfirdn2d

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
    demod[n, o] = rsqrt(sum_i s[n, i]^2 sum_k W[o, i, k]^2 + 1e-8): the style goes onto the activations (by whoever
    makes `x`), demodulation onto the result (by the epilogue), and the weights stay those of all samples.

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

    def forward(self, x: Tensor, taps: Tensor) -> Tensor:
        """Convolve `x` `[N, C, H, W]`, its style multiplied in, to `[N, O, H, W]` or `[N, O, 2 H, 2 W]`."""
        if not self.up:
            return F.conv2d(x, self.weight, padding=1)
        x = F.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2)  # [N, O, 2 H + 1, 2 W + 1]
        left, right = (taps.shape[-1] - 1) // 2, (taps.shape[-1] - 2) // 2
        return upfirdn2d(x, taps, padding=(left, right, left, right), gain=4.0)  # [N, O, 2 H, 2 W]

    def normalised_style(self, style: Tensor) -> tuple[Tensor, Tensor]:
        """Return the style `[N, C]` to multiply in and the demodulation `[N, O]` to go with it, both fp32."""
        demod = self.demodulation(style, self.weight)  # [N, O]
        if self.weight.dtype in LOW_PRECISION:
            largest = style.detach().abs().amax(1, keepdim=True).clamp_min(_EPSILON)  # [N, 1]
            return style / largest, demod * largest
        return style, demod

    def full_weight(self) -> Tensor:
        """The weight `[O, C, 3, 3]` as the checkpoint has it."""
        return self.weight * self.demodulation.scale.to(self.weight.dtype)[:, None, None, None]


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

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Convert `x` `[N, C, H, W]` under `style` `[N, C]` to fp32 `[N, channels, H, W]`."""
        y = F.conv2d(x * style.to(x.dtype)[:, :, None, None], self.weight)  # [N, channels, H, W]
        y = y.to(self.constants.bias.dtype) + self.constants.bias[:, None, None]
        return y if self.clamp is None else y.clamp(-self.clamp, self.clamp)


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
        style = modulations[0][0]  # [N, C]
        x = self.const * style.to(self.const.dtype)[:, :, None, None]  # [N, C, 4, 4], its style multiplied in
        for layer, name in enumerate(self._names):
            demod = modulations[layer][1]  # [N, O]
            x = self.convolutions[layer](x.contiguous(memory_format=torch.channels_last), self.upsampling.taps)
            if name.endswith("conv0"):  # conv1 alone reads it: its style is multiplied in by the epilogue
                x = self.constants[layer](x, noise_mode, demod=demod, next_style=modulations[layer + 1][0])
                continue
            x = self.constants[layer](x, noise_mode, demod=demod)  # [N, O, H, W]
            block = layer // 2
            colour: Tensor = self.torgbs[block](x, styles[f"{self._blocks[block]}.torgb"])  # [N, channels, H, W]
            image = colour if image is None else self.upsampling.upsample(image) + colour
            if layer + 1 < len(self._names):
                x = x * modulations[layer + 1][0].to(x.dtype)[:, :, None, None]  # [N, O, H, W]
        assert image is not None
        return image.contiguous()

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

    def upsample(self, image: Tensor) -> Tensor:
        """Double the size of `image` `[N, C, H, W]`."""
        size = self.taps.shape[-1]
        before, after = (size + 1) // 2, (size - 2) // 2
        return upfirdn2d(image, self.taps, up=2, padding=(before, after, before, after), gain=4.0)


def _channels_last(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last)
