"""A photo's face as a small file: its latent, the photo itself, and the generator whose edits it follows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deltafast.arguments import check_generator
from deltafast.errors import InvalidInputError
from deltafast.face_networks.landmarks import load_face_landmarks
from deltafast.files import atomic_write
from deltafast.generators.base import Generator
from deltafast.generators.synthesis import SynthesisNetwork
from deltafast.pixels import to_floats
from deltafast.projection.carried import PRESENT, CarriedPhoto
from deltafast.sequence_latents import GeneratorId
from deltafast.untrusted.checks import check_name, reading, shown
from deltafast.untrusted.json_text import parse_json
from deltafast.untrusted.safetensors_file import read_safetensors

__all__ = ["CARRIED_SIZE", "TunedFace", "is_tuned_file", "load_face", "shows_mesh"]

_FORMAT, _VERSION, _KEY = "deltafast-tuned-face", 1, "deltafast"
_MAX_BYTES = 12_000_000
CARRIED_SIZE = 1024
"""Pixels of a side of the face's photo that are kept at most."""


@dataclass(frozen=True, eq=False)
class TunedFace:
    """What makes a generator show one photo's own face, and edit it.

    - `ws`: the face's latent, fp32 `[1, num_ws, w_dim]` on the CPU;
    - `photo`: the aligned face, uint8 `[S, S, 3]`, S from 32 to 1,024;
    - `generator`: whose latent it is; `source`: sha256 of the photo's file, "" where it came from none.

    It holds a person's face: whoever has the file has the picture. Raises `InvalidInputError` for other shapes.
    """

    ws: Tensor
    photo: NDArray[np.uint8]
    generator: GeneratorId
    source: str = ""

    def __post_init__(self) -> None:
        if self.ws.ndim != 3 or len(self.ws) != 1 or not bool(torch.isfinite(self.ws).all()):
            raise InvalidInputError(f"a face's latent is finite, [1, num_ws, w_dim]; got {list(self.ws.shape)}")
        shape = self.photo.shape
        if self.photo.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or shape[0] != shape[1]:
            raise InvalidInputError(f"a face's photo is uint8 [S, S, 3]; got {self.photo.dtype} {list(shape)}")
        if not 32 <= shape[0] <= CARRIED_SIZE:
            raise InvalidInputError(f"a face's photo has 32 to {CARRIED_SIZE} pixels a side; got {shape[0]}")
        object.__setattr__(self, "ws", self.ws.detach().to("cpu", torch.float32).contiguous())

    @classmethod
    def of(cls, generator: Generator, ws: Tensor, photo: NDArray[np.uint8], source: str = "") -> TunedFace:
        """Return the face of a latent `[1, num_ws, w_dim]` and an aligned photo `[S, S, 3]`, reduced where S > 1024."""
        if len(photo) > CARRIED_SIZE:
            photo = np.asarray(Image.fromarray(photo).resize((CARRIED_SIZE, CARRIED_SIZE), Image.Resampling.LANCZOS))
        return cls(ws, photo, GeneratorId.of(generator), source)

    @property
    def fingerprint(self) -> str:
        """That of the generator with this face: a sha256 of the plain one's, the latent and the photo."""
        digest = hashlib.sha256(self.generator.fingerprint.encode())
        digest.update(self.ws.numpy().tobytes())
        digest.update(self.photo.tobytes())
        return digest.hexdigest()

    def synthesis(self, generator: Any, synthesise: Callable[..., Tensor] | None = None) -> CarriedPhoto:
        """Return the synthesis that carries the photo; `synthesise` takes the place of the generator's own.

        Raises `InvalidInputError` for another generator than the face's, one whose pictures are not RGB, and where no
        face mesh is found.
        """
        check_generator(generator)
        if generator.fingerprint != self.generator.fingerprint:
            raise InvalidInputError(
                f"this face is of the generator {self.generator.name} ({self.generator.fingerprint[:12]}...), got "
                f"{generator.name} ({generator.fingerprint[:12]}...): load the one that it was made with"
            )
        if generator.img_channels != 3:
            raise InvalidInputError(f"a photo is carried on RGB pictures; {generator.name}'s have other channels")
        photo = to_floats(self.photo)[None].to(generator.device)  # [1, 3, S, S]
        ws = self.ws.to(generator.device, generator.code_dtype)
        landmarks = load_face_landmarks().to(generator.device)
        return CarriedPhoto(synthesise or generator.synthesis, ws, photo, generator.w_avg, landmarks)

    def tuned(self, generator: Generator) -> Generator:
        """Return a generator that shows this face at its latent, and edits it: same W space, its own fingerprint.

        Its weights are those of `generator`, shared; its synthesis records no gradients. Raises as `synthesis` does.
        """
        synthesis = _CarriedSynthesis(generator.synthesis, self.synthesis(generator))
        config = {**generator.config, "w_space": generator.w_space}
        return Generator(generator.mapping, synthesis, config=config, fingerprint=self.fingerprint)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the face as a safetensors file of at most 12 MB, atomically; the same face gives the same bytes.

        Raises `DiskError` where it cannot be written.
        """
        from safetensors.torch import save_file

        head = {"format": _FORMAT, "version": _VERSION, "generator": asdict(self.generator), "source": self.source}
        tensors = {"ws": self.ws, "photo": torch.from_numpy(self.photo.copy())}
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata={_KEY: json.dumps(head, sort_keys=True)})


def load_face(path: str | os.PathLike[str]) -> TunedFace:
    """Read a file that `TunedFace.save` or `deltafast project --likeness tuned` wrote.

    Raises `InvalidInputError` that names the file when it is missing, damaged, or another kind of file.
    """
    name = os.fspath(path)
    with reading(lambda reason: InvalidInputError(f"{name} cannot be read as a tuned face: {reason}")):
        tensors, metadata = read_safetensors(path, max_bytes=_MAX_BYTES)
        head = parse_json(metadata.get(_KEY, "null"))
        if not isinstance(head, dict) or head.get("format") != _FORMAT:
            raise InvalidInputError(f"{name} is no tuned face; make one with `deltafast project --likeness tuned`")
        if head.get("version") != _VERSION:
            raise InvalidInputError(f"{name} has format version {shown(head.get('version'))}, expected {_VERSION}")
        source = head.get("source", "")
        if source != "":
            check_name(source, "the photo's sha256")
        photo, ws = tensors["photo"], tensors["ws"]
        if photo.dtype != torch.uint8 or ws.dtype != torch.float32:
            raise InvalidInputError(f"{name} holds a photo of {photo.dtype} and a latent of {ws.dtype}")
        try:
            return TunedFace(ws, photo.numpy(), GeneratorId.from_json(head["generator"]), source)
        except InvalidInputError as error:
            raise InvalidInputError(f"{name}: {error}") from error


def is_tuned_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file says of itself that it holds a tuned face, by its header alone."""
    if Path(path).suffix.lower() != ".safetensors":
        return False
    try:
        from safetensors import safe_open

        with safe_open(os.fspath(path), framework="pt") as stream:
            head = parse_json((stream.metadata() or {}).get(_KEY, "null"))
    except Exception:  # whatever is wrong with it, reading it as latents says so
        return False
    return isinstance(head, dict) and head.get("format") == _FORMAT


def shows_mesh(photo: Tensor) -> bool:
    """Whether an aligned photo `[1, 3, S, S]` in [-1, 1] shows a face whose mesh can be read, as carrying it needs.

    Raises `DownloadError` where the network that reads it cannot be fetched.
    """
    found = load_face_landmarks().to(photo.device).read(photo.float().clamp(-1, 1))
    return float(found.presence[0]) >= PRESENT


class _CarriedSynthesis(SynthesisNetwork):
    """A generator's synthesis whose pictures carry a photo."""

    def __init__(self, plain: SynthesisNetwork, carried: CarriedPhoto) -> None:
        super().__init__()
        self.plain = plain
        self.num_ws, self.w_dim, self.slots = plain.num_ws, plain.w_dim, plain.slots
        self.img_resolution, self.img_channels = plain.img_resolution, plain.img_channels
        self._carried = carried

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the convolutions."""
        return self.plain.dtype

    def tensors(self) -> dict[str, Tensor]:
        """Refused: a generator's file holds no photo. Raises `InvalidInputError`."""
        raise InvalidInputError("a generator with a photo is kept as its face: TunedFace.save, not save_generator")

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
        """Synthesise images `[N, 3, H, W]`; see `SynthesisNetwork.forward`. No gradients are recorded."""
        self.check_inputs(ws, noise_mode)
        return self._carried(ws, noise_mode)
