"""Who synthesises in the generator benchmarks: deltafast's ways, and every baseline, by one name each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.baselines import mobilestylegan, random_weights, stylegan2
from deltafast.generators.base import Generator
from deltafast.generators.compiled import capture_cuda_graph
from deltafast.generators.load import load_generator

Synthesis = Callable[[Tensor], Tensor]  # ws [N, L, w_dim] -> fp32 images [N, channels, H, W]

OURS = ("deltafast", "deltafast, CUDA graph", "deltafast, torch.compile")
BASELINES = {
    "stylegan2": (
        "stylegan2-ada, NCHW",
        "stylegan2-ada, NHWC",
        "shared weights, NCHW",
        "shared weights, NHWC",
        "shared weights, NHWC, CUDA graph",
        "shared weights, NHWC, torch.compile max-autotune",
    ),
    "mobilestylegan": (
        "plain torch, NCHW",
        "plain torch, NHWC",
        "plain torch, NHWC, CUDA graph",
        "plain torch, NHWC, torch.compile max-autotune",
    ),
}
CONVOLUTIONS = "the library's convolutions alone"  # no baseline: it makes no images
_ALL_BLOCKS = 32  # more than any generator has


@dataclass(frozen=True)
class Subject:
    """What is synthesised: a generator by name, how many images at once, and the precision of the convolutions."""

    name: str
    batch: int
    dtype: torch.dtype

    @property
    def family(self) -> str:
        """The architecture: "stylegan2" or "mobilestylegan"."""
        return self.name.partition("-")[0]

    @property
    def case(self) -> str:
        """The name under which the results of all contenders are compared."""
        return f"{self.name}, {str(self.dtype).removeprefix('torch.')}, batch {self.batch}"

    def rehearsed(self) -> Subject:
        """The same on a small batch."""
        return replace(self, batch=min(self.batch, 2))


def load_subject(name: str, device: torch.device, *, tiny: bool) -> Generator:
    """Return the fp32 generator of a subject's name; with `tiny` a small one of its architecture."""
    if tiny and name.startswith("mobilestylegan"):
        generator = random_weights.random_mobilestylegan(32, 16)
    elif tiny:
        generator = random_weights.random_stylegan2(32, 256, conv_clamp=256.0)
    elif name == "mobilestylegan-1024":
        generator = load_generator("mobilestylegan-ffhq")
    else:
        config, resolution = name.split("-")[1:]
        base = {"e": random_weights.CONFIG_E, "f": random_weights.CONFIG_F}[config]
        generator = random_weights.random_stylegan2(int(resolution), base, conv_clamp=256.0)
    return generator.to(device).requires_grad_(False)


def ours(name: str, generator: Generator, batch: int) -> Synthesis:
    """Return one of `OURS` for a generator that already has its precision."""
    if name == "deltafast, CUDA graph":
        return generator.compiled(batch_size=batch)
    return generator.compiled() if name == "deltafast, torch.compile" else generator.synthesis


def baseline(name: str, generator: Generator, dtype: torch.dtype) -> Synthesis:
    """Return a baseline by its name, from the fp32 generator's weights.

    StyleGAN2's have low precision where stylegan2-ada has it: in the four highest resolutions.
    """
    low = None if dtype is torch.float32 else dtype
    compiled, captured = name.endswith("max-autotune"), name.endswith("CUDA graph")
    channels_last = "NHWC" in name
    if name.startswith("plain torch"):
        if compiled:
            return mobilestylegan.compiled_baseline(generator, dtype)
        plain = mobilestylegan.plain_baselines(generator, dtype)[f"plain torch, {'NHWC' if channels_last else 'NCHW'}"]
    else:
        if compiled:
            return stylegan2.compiled_baseline(generator, low)
        form: stylegan2.Form = "ada" if name.startswith("stylegan2-ada") else "shared"
        module = stylegan2.PlainStylegan2(generator, form=form, channels_last=channels_last, low=low)
        plain = module.to(generator.device)
    return _Captured(plain, generator.device) if captured else plain


class _Captured:
    """A synthesis of always the same batch as a CUDA graph, copying latents in and images out as ours does."""

    def __init__(self, synthesis: Synthesis, device: torch.device) -> None:
        self._synthesis = synthesis
        self._device = device
        self._recorded: tuple[Tensor, Callable[[], Tensor]] | None = None

    def __call__(self, ws: Tensor) -> Tensor:
        if self._recorded is None:
            buffer = ws.clone()
            self._recorded = buffer, capture_cuda_graph(lambda: self._synthesis(buffer), self._device)
        buffer, replay = self._recorded
        buffer.copy_(ws)
        return replay().clone()


def torch_itself(generator: Generator, dtype: torch.dtype) -> Synthesis:
    """Return plain torch with every convolution in `dtype`: its error is what ours is measured by."""
    if generator.config["architecture"] == "mobilestylegan":
        return mobilestylegan.plain_baselines(generator, dtype)["plain torch, NHWC"]
    low = None if dtype is torch.float32 else dtype
    plain = stylegan2.PlainStylegan2(
        generator, form="shared", channels_last=True, low=low, low_blocks=_ALL_BLOCKS, product=True
    )
    return plain.to(generator.device)
