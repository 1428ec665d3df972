"""Training pairs for the encoder: latents drawn from a generator, and the images they give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from deltafast.arguments import check_count, check_not_negative, check_seed
from deltafast.errors import InvalidInputError
from deltafast.files import atomic_write
from deltafast.generators.base import Generator
from deltafast.generators.seeds import class_labels
from deltafast.peers import Peers
from deltafast.pixels import as_rgb, to_bytes
from deltafast.progress import track
from deltafast.runs import begin_or_resume
from deltafast.untrusted.checks import UnreadableError, check_finite, reading
from deltafast.untrusted.safetensors_file import read_safetensors

__all__ = ["SampleConfig", "expand_codes", "read_pairs", "sample_codes", "sample_pairs", "slot_groups"]


@dataclass(frozen=True)
class SampleConfig:
    """How pairs are drawn: `count` pairs from `seed`, psi uniform in [psi_low, psi_high], images of `resolution`².

    With probability `mixing` each, the middle and the late slots take a style of their own (style mixing), so
    that an encoder learns which part of an image each part of W+ answers for. Of a conditional generator pairs are of
    the class `class_index`, or, where that is None, of every class in turn.
    """

    count: int = 14080
    seed: int = 1_000_000
    resolution: int = 256
    psi_low: float = 0.5
    psi_high: float = 1.0
    mixing: float = 0.35
    shard: int = 64
    class_index: int | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name, least in (("count", 1), ("resolution", 8), ("shard", 1)):
            check_count(name, getattr(self, name), least)
        for name in ("psi_low", "psi_high", "mixing"):
            check_not_negative(name, getattr(self, name))


def slot_groups(num_ws: int) -> tuple[tuple[int, int], ...]:
    """Return the half-open slot ranges that share one code: coarse 0..3, middle 4..7, fine 8.. (to 32², to 128²)."""
    ranges = ((0, min(4, num_ws)), (4, min(8, num_ws)), (8, num_ws))
    return tuple((start, stop) for start, stop in ranges if stop > start)


def expand_codes(codes: Tensor, groups: tuple[tuple[int, int], ...]) -> Tensor:
    """Repeat one code per group over its slots: `[N, groups, w_dim]` to `[N, num_ws, w_dim]`."""
    parts = [codes[:, i : i + 1].expand(-1, stop - start, -1) for i, (start, stop) in enumerate(groups)]
    return torch.cat(parts, 1)  # [N, num_ws, w_dim]


def sample_codes(generator: Generator, index: int, config: SampleConfig) -> Tensor:
    """Return the codes of pair `index`, `[groups, w_dim]` fp32 on the CPU; they depend on (seed, index) alone."""
    groups = len(slot_groups(generator.num_ws))
    random = torch.Generator().manual_seed(config.seed + index)
    z = torch.randn(3, generator.z_dim, generator=random)  # [3, z_dim]
    psi = torch.empty(()).uniform_(config.psi_low, config.psi_high, generator=random)
    fresh = torch.rand(3, generator=random) < config.mixing
    chosen_class = index % generator.c_dim if generator.c_dim and config.class_index is None else config.class_index
    labels = class_labels(generator, None if chosen_class is None else [chosen_class], 3)  # [3, c_dim]
    device, dtype = generator.device, generator.code_dtype
    w = generator.mapping(z.to(device, dtype), labels)[:, 0].float().cpu()
    average = generator.w_avg.float().cpu()  # [w_dim]
    w = average + psi * (w - average)  # [3, w_dim]
    chosen = [w[0]]
    for group in range(1, groups):
        chosen.append(w[group] if fresh[group - 1] else chosen[-1])
    return torch.stack(chosen)  # [groups, w_dim]


@torch.inference_mode()
def sample_pairs(generator: Generator, folder: Path, config: SampleConfig, group: Peers | None = None) -> list[Path]:
    """Draw `config.count` pairs into shards under `folder` and return the shards.

    A shard is a safetensors file with `codes` fp16 `[shard, groups, w_dim]` and `images` uint8
    `[shard, 3, resolution, resolution]`. Finished shards are kept, so an interrupted run goes on where it stopped.
    The processes of `group` share the shards among themselves, and all return when all are drawn.
    Raises `ResumeError` when `folder` was begun with other settings or another generator.
    """
    if generator.img_resolution % config.resolution:
        raise InvalidInputError(
            f"resolution {config.resolution} does not divide the generator's {generator.img_resolution}"
        )
    described = {**asdict(config), "generator": generator.fingerprint}
    described.pop("count")
    group = group or Peers()
    if group.is_first:
        begin_or_resume(folder / "sampling.json", described)
    group.wait()
    factor = generator.img_resolution // config.resolution
    groups = slot_groups(generator.num_ws)
    synthesise = generator.compiled()
    shards = []
    for number in track(range(-(-config.count // config.shard)), "sampling pairs"):
        path = folder / f"shard-{number:05d}.safetensors"
        shards.append(path)
        if path.exists() or number % group.count != group.rank:
            continue
        codes = torch.stack(
            [sample_codes(generator, number * config.shard + i, config) for i in range(config.shard)]
        )  # [shard, groups, w_dim]
        images = []
        for code in codes:
            ws = expand_codes(code[None], groups).to(generator.w_avg)  # [1, num_ws, w_dim]
            image = F.avg_pool2d(as_rgb(synthesise(ws).float()), factor)  # [1, 3, R, R]
            images.append(to_bytes(image[0]).cpu())
        with atomic_write(path) as temporary:
            save_file({"codes": codes.half(), "images": torch.stack(images)}, temporary)
    group.wait()
    return shards


def read_pairs(shards: list[Path]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (codes `[shard, groups, w_dim]` fp32, images `[shard, 3, R, R]` uint8) shard by shard."""
    for path in shards:
        yield _read_shard(path)


def _read_shard(path: Path) -> tuple[Tensor, Tensor]:
    with reading(lambda reason: InvalidInputError(f"{path} is damaged ({reason}); delete it and sample again")):
        tensors, _ = read_safetensors(path)
        codes, images = tensors["codes"].float(), tensors["images"]
        if codes.ndim != 3 or images.ndim != 4 or images.dtype != torch.uint8 or len(codes) != len(images):
            raise UnreadableError(f"codes {list(codes.shape)}, images {images.dtype} {list(images.shape)}")
        check_finite(codes, "codes")
    return codes, images
