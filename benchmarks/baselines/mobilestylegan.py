"""MobileStyleGAN's synthesis as its publication defines it, in plain torch, one operation after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltafast.generators.base import Generator

Synthesis = Callable[[Tensor], Tensor]  # ws [N, L, w_dim] -> fp32 images [N, channels, H, W]


class PlainMobileStyleGAN(nn.Module):
    """The synthesis of a deltafast generator's weights, in `dtype` throughout but for the image."""

    def __init__(self, generator: Generator, *, channels_last: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.slots = generator.slots
        self.size = generator.img_resolution
        for name, tensor in generator.tensors().items():
            if name.startswith("synthesis."):
                value = tensor.detach().to(torch.float32 if ".affine." in name else dtype).clone()
                value = value.contiguous(memory_format=self.layout) if value.dim() == 4 else value
                self.register_buffer(name.removeprefix("synthesis.").replace(".", "_"), value)

    def forward(self, ws: Tensor) -> Tensor:
        """Synthesise fp32 images `[N, channels, H, W]` from `ws` `[N, L, w_dim]` with the fixed noise."""
        x = self._get("input").expand(ws.shape[0], -1, -1, -1).contiguous(memory_format=self.layout)  # [N, C, 4, 4]
        x = F.conv2d(x * self._style(ws, "b4.conv1", "b4.conv1"), self._get("b4.conv1.weight"), padding=1)
        x = self._activate(x, "b4.conv1")
        for size in (2**k for k in range(3, self.size.bit_length() - 1)):
            x = _inverse_haar(x * self._style(ws, f"b{size}.up", f"b{size}.conv0"))  # [N, C, size, size]
            for layer in ("conv0", "conv1"):
                name = f"b{size}.{layer}"
                x = x * self._style(ws, name, name)
                x = F.conv2d(x, self._get(f"{name}.depthwise"), padding=1, groups=x.shape[1])
                x = self._activate(F.conv2d(x, self._get(f"{name}.pointwise")), name)
        name = f"b{self.size}.to_img"
        x = F.conv2d(x * self._style(ws, name, self.slots[-1]), self._get(f"{name}.weight")).float()
        return _inverse_haar(x + self._get(f"{name}.bias").float()[:, None, None]).contiguous()

    def _activate(self, x: Tensor, name: str) -> Tensor:
        x = x + self._get(f"{name}.noise_const") + self._get(f"{name}.bias")[:, None, None]
        return F.leaky_relu(x, 0.2)

    def _style(self, ws: Tensor, name: str, slot: str) -> Tensor:
        w = ws[:, self.slots.index(slot)]  # [N, w_dim]
        style = F.linear(w, self._get(f"{name}.affine.weight"), self._get(f"{name}.affine.bias"))  # [N, C]
        return style.to(self._get("input").dtype)[:, :, None, None]

    def _get(self, name: str) -> Tensor:
        return self.get_buffer(name.replace(".", "_"))


def _inverse_haar(x: Tensor) -> Tensor:
    """Merge the subbands `[N, 4 C, H, W]` into `[N, C, 2 H, 2 W]`."""
    low, vertical, horizontal, diagonal = x.chunk(4, dim=1)
    top, bottom = low + vertical, low - vertical
    top_detail, bottom_detail = horizontal + diagonal, horizontal - diagonal
    quads = (top + top_detail, top - top_detail, bottom + bottom_detail, bottom - bottom_detail)
    return F.pixel_shuffle(torch.stack(quads, dim=2).flatten(1, 2), 2)  # [N, C, 4, H, W] -> [N, C, 2 H, 2 W]


def plain_baselines(generator: Generator, dtype: torch.dtype) -> dict[str, Synthesis]:
    """Return the plain synthesis in both memory formats, by name, on the generator's device."""
    made: dict[str, Synthesis] = {}
    for channels_last in (False, True):
        module = PlainMobileStyleGAN(generator, channels_last=channels_last, dtype=dtype)
        made[f"plain torch, {'NHWC' if channels_last else 'NCHW'}"] = module.to(generator.device)
    return made


def compiled_baseline(generator: Generator, dtype: torch.dtype) -> Synthesis:
    """Return the plain synthesis, channels-last, under torch.compile(mode="max-autotune")."""
    plain = PlainMobileStyleGAN(generator, channels_last=True, dtype=dtype).to(generator.device)
    compiled: Synthesis = torch.compile(plain, mode="max-autotune", fullgraph=True)
    return compiled
