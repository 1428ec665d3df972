"""StyleGAN2's synthesis as others run it, in plain torch: the forms of stylegan2-ada, and the one torch.compile likes.

Every baseline takes the weights of a deltafast generator and makes the same images. stylegan2-ada's own CUDA
extensions (bias + activation, FIR) are plain torch operations here; the compiled form fuses what they fuse.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.generators.base import Generator
from deltafast.generators.version_1 import to_version_1

Form = Literal["ada", "grouped", "shared"]
Synthesis = Callable[[Tensor], Tensor]  # ws [N, L, w_dim] -> fp32 images [N, channels, H, W]

_EPSILON = 1e-8


class PlainStylegan2(nn.Module):
    """StyleGAN2's synthesis, layer by layer.

    `form`: "grouped" builds each sample's weights and convolves all samples as groups of one convolution; "shared"
    scales activations before and after a convolution by the weights of all samples; "ada" does what stylegan2-ada
    does in inference: grouped in fp32 and for a single sample, else shared.
    `low`: dtype of the `low_blocks` highest resolutions (stylegan2-ada: fp16 from the fourth one from the top); None
    keeps fp32 throughout. `channels_last`: the memory format of activations and weights.
    `product`: take demodulation from the product of squared styles and squared weights, instead of building every
    sample's weights for it, as stylegan2-ada does in both forms.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        form: Form,
        channels_last: bool,
        low: torch.dtype | None = None,
        low_blocks: int = 4,
        product: bool = False,
    ) -> None:
        super().__init__()
        self.form = form
        self.product = product
        self.channels_last = channels_last
        self.clamp = generator.config.get("conv_clamp")
        self.blocks = [2**k for k in range(2, generator.img_resolution.bit_length())]  # 4, 8, ..., resolution
        lowest = 2 ** (generator.img_resolution.bit_length() - low_blocks)
        self.dtypes = {size: low if low is not None and size >= lowest else torch.float32 for size in self.blocks}
        folded = to_version_1(generator.tensors(), generator.config)  # gains multiplied in: what is fastest
        for name, tensor in folded.items():
            if name.startswith("synthesis."):
                self.register_buffer(_flat(name.removeprefix("synthesis.")), tensor.detach().float().clone())
        self.register_buffer("taps", self._get("resample_filter").sum(1))  # [k]

    def forward(self, ws: Tensor) -> Tensor:
        """Synthesise fp32 images `[N, channels, H, W]` from `ws` `[N, L, w_dim]` with the fixed noise."""
        slot = 0
        x = self._get("b4.const").expand(ws.shape[0], -1, -1, -1)  # [N, C, 4, 4]
        image: Tensor | None = None
        for size in self.blocks:
            x = x.to(self.dtypes[size], memory_format=self._format)
            if size > 4:
                x = self._layer(x, f"b{size}.conv0", ws[:, slot], up=True)
                slot += 1
            x = self._layer(x, f"b{size}.conv1", ws[:, slot], up=False)
            slot += 1
            colour = self._to_rgb(x, f"b{size}.torgb", ws[:, slot]).float()  # [N, channels, H, W]
            image = colour if image is None else self._upsample(image) + colour
        assert image is not None
        return image.contiguous()

    def _layer(self, x: Tensor, name: str, w: Tensor, *, up: bool) -> Tensor:
        weight, style = self._get(f"{name}.weight"), self._style(name, w)  # [O, C, 3, 3], [N, C]
        noise = (self._get(f"{name}.noise_const") * self._get(f"{name}.noise_strength")).to(x.dtype)  # [H, W]
        if x.dtype == torch.float16:  # against overflow
            weight = weight / (weight.abs().amax((1, 2, 3), keepdim=True) * math.sqrt(weight[0].numel()))
            style = style / style.abs().amax(1, keepdim=True)
        demod = self._demodulation(weight, style).to(x.dtype)  # [N, O]
        if self._is_grouped(x):
            x = self._grouped(x, weight[None] * style[:, None, :, None, None], demod, up=up) + noise
        else:
            x = self._convolve(x * style.to(x.dtype)[:, :, None, None], weight.to(x.dtype), up=up)
            x = torch.addcmul(noise, x, demod[:, :, None, None])
        x = x + self._get(f"{name}.bias").to(x.dtype)[:, None, None]
        return self._limit(F.leaky_relu(x, 0.2) * math.sqrt(2))

    def _to_rgb(self, x: Tensor, name: str, w: Tensor) -> Tensor:
        weight, style = self._get(f"{name}.weight"), self._style(name, w)  # [3, C, 1, 1], [N, C]
        if self._is_grouped(x):
            x = self._grouped(x, weight[None] * style[:, None, :, None, None], None, up=False)
        else:
            x = self._convolve(x * style.to(x.dtype)[:, :, None, None], weight.to(x.dtype), up=False)
        return self._limit(x + self._get(f"{name}.bias").to(x.dtype)[:, None, None])

    def _demodulation(self, weight: Tensor, style: Tensor) -> Tensor:
        if self.product:
            return torch.rsqrt(style.square() @ weight.square().sum((2, 3)).t() + _EPSILON)  # [N, O]
        return torch.rsqrt((weight[None] * style[:, None, :, None, None]).square().sum((2, 3, 4)) + _EPSILON)

    def _grouped(self, x: Tensor, weights: Tensor, demod: Tensor | None, *, up: bool) -> Tensor:
        """Convolve `x` `[N, C, H, W]` by each sample's own `weights` `[N, O, C, k, k]`."""
        n, c, h, w = x.shape
        weights = weights.to(x.dtype)
        if demod is not None:
            weights = weights * demod[:, :, None, None, None]
        y = self._convolve(x.reshape(1, n * c, h, w), weights.flatten(0, 1), up=up, groups=n)
        return y.reshape(n, -1, *y.shape[2:])  # [N, O, H', W']

    def _convolve(self, x: Tensor, weight: Tensor, *, up: bool, groups: int = 1) -> Tensor:
        """Convolve by `weight` `[groups O, C, k, k]`; with `up`, to twice the size, followed by the FIR."""
        weight = weight.contiguous(memory_format=self._format)
        if not up:
            return F.conv2d(x, weight, padding=weight.shape[2] // 2, groups=groups)
        turned = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)  # [groups C, O, k, k]
        return self._fir(F.conv_transpose2d(x, turned, stride=2, groups=groups), padding=(1, 1, 1, 1))

    def _upsample(self, image: Tensor) -> Tensor:
        """Double the size of `image` `[N, channels, H, W]`."""
        n, c, h, w = image.shape
        wide = F.pad(image.reshape(n, c, h, 1, w, 1), [0, 1, 0, 0, 0, 1]).reshape(n, c, 2 * h, 2 * w)
        return self._fir(wide, padding=(2, 1, 2, 1))

    def _fir(self, x: Tensor, *, padding: tuple[int, int, int, int]) -> Tensor:
        """Filter along both axes, with the gain of 4 that up-sampling by 2 takes."""
        c = x.shape[1]
        taps = 2 * self.taps.to(x.dtype).flip(0)  # [k]
        x = F.conv2d(F.pad(x, padding), taps[None, None, :, None].expand(c, 1, -1, 1), groups=c)
        return F.conv2d(x, taps[None, None, None, :].expand(c, 1, 1, -1), groups=c)

    def _style(self, name: str, w: Tensor) -> Tensor:
        return F.linear(w, self._get(f"{name}.affine.weight"), self._get(f"{name}.affine.bias"))  # [N, C]

    def _is_grouped(self, x: Tensor) -> bool:
        if self.form == "ada":
            return x.dtype == torch.float32 or x.shape[0] == 1
        return self.form == "grouped"

    def _limit(self, x: Tensor) -> Tensor:
        return x if self.clamp is None else x.clamp(-self.clamp, self.clamp)

    @property
    def _format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def _get(self, name: str) -> Tensor:
        return self.get_buffer(_flat(name))


def _flat(name: str) -> str:
    return name.replace(".", "_")


def plain_baselines(generator: Generator, low: torch.dtype | None = None) -> dict[str, Synthesis]:
    """Return the forms of stylegan2-ada by name, on the generator's device; each takes `ws` and returns images.

    In fp32 (`low` None) these are the grouped and the shared form; with `low` set, stylegan2-ada's own choice and the
    shared form, in that dtype from the fourth resolution from the top.
    """
    forms: tuple[Form, ...] = ("grouped", "shared") if low is None else ("ada", "shared")
    made: dict[str, Synthesis] = {}
    for form in forms:
        for channels_last in (False, True):
            layout = "NHWC" if channels_last else "NCHW"
            module = PlainStylegan2(generator, form=form, channels_last=channels_last, low=low)
            made[f"stylegan2-ada, {form}, {layout}"] = module.to(generator.device)
    return made


def compiled_baseline(generator: Generator, low: torch.dtype | None = None) -> Synthesis:
    """Return the shared form, channels-last, demodulation by one product, under torch.compile(mode="max-autotune")."""
    plain = PlainStylegan2(generator, form="shared", channels_last=True, low=low, product=True)
    compiled: Synthesis = torch.compile(plain.to(generator.device), mode="max-autotune", fullgraph=True)
    return compiled


class ConvolutionsAlone:
    """The library's 3x3 convolutions of one synthesis on activations that are already there, and nothing else.

    What the convolutions cost by themselves: no modulation, no FIR, no epilogue, no images. `low` as in
    `PlainStylegan2`; with `low_blocks=None` every resolution has that dtype.
    """

    def __init__(
        self,
        generator: Generator,
        batch: int,
        *,
        channels_last: bool,
        low: torch.dtype | None = None,
        low_blocks: int | None = 4,
    ) -> None:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        resolutions = generator.img_resolution.bit_length() - 2
        lowest = 2 ** (generator.img_resolution.bit_length() - (resolutions if low_blocks is None else low_blocks))
        self._calls: list[tuple[Tensor, Tensor, bool]] = []
        for name, tensor in generator.tensors().items():
            _, block, *rest = name.split(".")
            if rest[1:] != ["weight"] or not rest[0].startswith("conv"):
                continue
            up, size = rest[0] == "conv0", int(block[1:])
            dtype = low if low is not None and size >= lowest else torch.float32
            weight = tensor.detach().to(dtype)
            weight = (weight.transpose(0, 1) if up else weight).contiguous(memory_format=layout)
            side = size // 2 if up else size
            x = torch.randn(batch, tensor.shape[1], side, side, device=generator.device, dtype=dtype)
            self._calls.append((x.contiguous(memory_format=layout), weight, up))

    def __call__(self) -> Tensor:
        """Run every convolution once; return the last one's result."""
        y = torch.empty(0)
        for x, weight, up in self._calls:
            y = F.conv_transpose2d(x, weight, stride=2) if up else F.conv2d(x, weight, padding=1)
        return y
