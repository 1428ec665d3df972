"""The encoder: an image to the W+ latent of a generator, in one pass."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from deltafast.arguments import PlacedModule
from deltafast.errors import EncoderError, InvalidInputError
from deltafast.files import atomic_write
from deltafast.generators.base import Generator
from deltafast.projection.backbone import MobileNetV2Features, normalise_images
from deltafast.projection.sampling import expand_codes
from deltafast.untrusted.checks import UnreadableError, check_finite, check_name, reading, shown
from deltafast.untrusted.json_text import parse_json
from deltafast.untrusted.safetensors_file import read_safetensors

__all__ = ["Encoder", "EncoderConfig", "load_encoder", "pool_features"]

_FORMAT = "deltafast-encoder"
_VERSION = 1
_POOLED = 4  # fields per side
_LARGEST = {"resolution": 4096, "num_ws": 1000, "w_dim": 1 << 16, "hidden": 1 << 16}


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an encoder and the latent space that it maps to."""

    resolution: int
    num_ws: int
    w_dim: int
    groups: tuple[tuple[int, int], ...]
    hidden: int


class EncoderHead(nn.Module):
    """Pooled features of the backbone to one code per slot group, as a distance from the mean latent.

    A low-rank linear map, which training begins from by ridge regression, with a residual perceptron in the middle.
    """

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        features = _POOLED * _POOLED * (32 + 96 + 320)
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_scale", torch.ones(features))
        self.dropout = nn.Dropout(0.1)
        self.inner = nn.Linear(features, config.hidden)
        self.residual_in = nn.Linear(config.hidden, config.hidden)
        self.residual_out = nn.Linear(config.hidden, config.hidden)
        self.outer = nn.Linear(config.hidden, len(config.groups) * config.w_dim)
        nn.init.zeros_(self.residual_out.weight)
        nn.init.zeros_(self.residual_out.bias)

    def kept(self, count: int) -> Tensor:
        """Draw what dropout leaves of the features of `count` images: `[count, features]`; all of them in eval mode."""
        kept: Tensor = self.dropout(self.feature_mean.new_ones(count, len(self.feature_mean)))
        return kept

    def forward(self, f6: Tensor, f13: Tensor, f17: Tensor, kept: Tensor | None = None) -> Tensor:
        """f6 `[N, 32, h, w]`, f13 `[N, 96, ...]`, f17 `[N, 320, ...]`; result `[N, groups, w_dim]`.

        `kept` `[N, features]`: in training, rows of `kept`; who trains one batch in several processes draws for all.
        """
        pooled = (pool_features([f6, f13, f17]) - self.feature_mean) * self.feature_scale  # [N, features]
        x = self.inner(pooled if kept is None else pooled * kept)  # [N, hidden]
        x = x + self.residual_out(F.gelu(self.residual_in(x)))
        codes: Tensor = self.outer(x)
        return codes.view(-1, len(self.config.groups), self.config.w_dim)


def pool_features(features: list[Tensor]) -> Tensor:
    """Average the backbone's outputs (layers 6, 13, 17) over 4 x 4 fields: `[N, 7168]`."""
    return torch.cat([F.adaptive_avg_pool2d(f, _POOLED).flatten(1) for f in features], 1)


class Encoder(PlacedModule):
    """Image to W+: `encoder(images)` gives codes per slot group, `encoder.encode(images)` gives W+ latents.

    Attributes: `config` (`EncoderConfig`), `w_space` and `generator_name` (what it was trained on), `w_avg`
    `[w_dim]`, `backbone`.
    """

    w_avg: Tensor
    w_scale: Tensor

    def __init__(self, config: EncoderConfig, w_space: str, generator_name: str) -> None:
        super().__init__()
        self.config = config
        self.w_space = w_space
        self.generator_name = generator_name
        self.backbone = MobileNetV2Features()
        self.head = EncoderHead(config)
        self.register_buffer("w_avg", torch.zeros(config.w_dim))
        self.register_buffer("w_scale", torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        """Images in [-1, 1], `[N, 3, H, W]` with H, W >= 32, to codes `[N, groups, w_dim]`."""
        size = (self.config.resolution, self.config.resolution)
        if tuple(images.shape[-2:]) != size:
            images = F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
        f6, f13, f17 = self.backbone(normalise_images(images))
        return self.codes_from_features(f6, f13, f17)

    def codes_from_features(self, f6: Tensor, f13: Tensor, f17: Tensor) -> Tensor:
        """Finish `forward` from the backbone's three outputs; result `[N, groups, w_dim]`."""
        codes: Tensor = self.w_avg + self.w_scale * self.head(f6, f13, f17)
        return codes

    def encode(self, images: Tensor) -> Tensor:
        """Images `[N, 3, H, W]` in [-1, 1] to W+ latents `[N, num_ws, w_dim]` in the encoder's dtype."""
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[-2:]) < 32:
            raise InvalidInputError(f"expected images [N, 3, H, W] of at least 32 x 32, got {tuple(images.shape)}")
        if not bool(torch.isfinite(images).all()):
            raise InvalidInputError("the images hold NaN or infinite values")
        return expand_codes(self(images.to(self.w_avg)), self.config.groups)  # [N, num_ws, w_dim]

    def digest(self) -> str:
        """Return a sha256 (64 hexadecimal digits) of all weights, by which results know what they were made with."""
        found = hashlib.sha256()
        for name, value in self.state_dict().items():
            found.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    def check_generator(self, generator: Generator) -> None:
        """Raise `EncoderError` unless `generator` has the latent space that this encoder was trained on."""
        if generator.w_space != self.w_space or generator.num_ws != self.config.num_ws:
            raise EncoderError(
                f"this encoder maps to the W+ space of {self.generator_name} ({self.config.num_ws} slots), not to that "
                f"of {generator.name} ({generator.num_ws} slots): train one with `deltafast train-encoder`"
            )

    def save(self, path: str | Path) -> None:
        """Write the encoder as one safetensors file with its configuration inside, weights in half precision."""
        tensors = {
            name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
            for name, value in self.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
        metadata = {
            "format": _FORMAT,
            "version": str(_VERSION),
            "config": json.dumps(asdict(self.config), sort_keys=True),
            "w_space": self.w_space,
            "generator": self.generator_name,
        }
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)


def load_encoder(path: str | os.PathLike[str] | None = None) -> Encoder:
    """Load an encoder file, or the bundled one (MobileStyleGAN-FFHQ) when `path` is None; fp32, eval mode.

    Raises `EncoderError` when the file is missing, damaged, or of another format version.
    """
    if path is None:
        path = Path(str(resources.files("deltafast"))) / "assets" / "encoder.safetensors"
    with reading(lambda reason: EncoderError(f"{path} cannot be read as an encoder: {reason}")):
        tensors, metadata = read_safetensors(path)
        if metadata.get("format") != _FORMAT or metadata.get("version") != str(_VERSION):
            raise EncoderError(
                f"{path} is not an encoder of format version {_VERSION} (found {shown(metadata.get('format'))}, "
                f"version {shown(metadata.get('version'))})"
            )
        config = _read_config(metadata["config"])
        names = [check_name(metadata[key], f"the encoder's {key}") for key in ("w_space", "generator")]
        with torch.device("meta"):  # no memory is taken on a file's word
            wanted = {name: value.shape for name, value in Encoder(config, *names).state_dict().items()}
        for name, shape in wanted.items():
            if name.endswith("num_batches_tracked"):
                continue
            if name not in tensors or tensors[name].shape != shape or not tensors[name].is_floating_point():
                found = "nothing" if name not in tensors else f"{tensors[name].dtype} {[*tensors[name].shape]}"
                raise EncoderError(f"{path} does not hold a complete encoder: {name} is {found}, expected {[*shape]}")
            check_finite(tensors[name], name)
        encoder = Encoder(config, *names)
        known = {name: value.float() for name, value in tensors.items() if name in wanted}
        encoder.load_state_dict(known, strict=False)
    return encoder.eval().requires_grad_(False)


def _read_config(text: str) -> EncoderConfig:
    """The sizes in an encoder file. Raises `UnreadableError` and errors of other types; see `reading`."""
    values = parse_json(text)
    groups = tuple((start, stop) for start, stop in values["groups"])
    config = EncoderConfig(values["resolution"], values["num_ws"], values["w_dim"], groups, values["hidden"])
    for name, largest in _LARGEST.items():
        number = getattr(config, name)
        if type(number) is not int or not 1 <= number <= largest:
            raise UnreadableError(f"{name} is {shown(number)}, expected a whole number from 1 to {largest}")
    edges = [0, *(stop for _, stop in groups)]
    if [start for start, _ in groups] != edges[:-1] or edges[-1] != config.num_ws or edges != sorted(set(edges)):
        raise UnreadableError(f"its groups are not ranges of slots that follow each other up to {config.num_ws}")
    return config
