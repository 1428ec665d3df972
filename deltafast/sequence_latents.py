"""Projected sequences: one safetensors file with the W+ latents of every attribute and identity.

What `deltafast project` writes and `deltafast train` reads. Tensor `"<attribute>/<identity>"` is float32
`[n, num_ws, w_dim]`, frame by frame along the attribute; the metadata is one JSON object under the key "deltafast".
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from deltafast.arguments import check_generator
from deltafast.errors import InvalidInputError
from deltafast.files import atomic_write
from deltafast.untrusted.checks import UnreadableError, check_name, reading, reason_of, shown
from deltafast.untrusted.json_text import parse_json
from deltafast.untrusted.safetensors_file import read_safetensors

__all__ = ["GeneratorId", "SequenceLatents", "load_latents"]

_FORMAT = "deltafast-latents"
_VERSION = 1
_KEY = "deltafast"

T = TypeVar("T")


@dataclass(frozen=True)
class GeneratorId:
    """Which generator latents belong to: its name, the sha256 of its weights, its W space, and its slots' names.

    `slots` may be empty where the names are not known.
    """

    name: str
    fingerprint: str
    w_space: str
    slots: tuple[str, ...] = ()

    @classmethod
    def of(cls, generator: Any) -> GeneratorId:
        """Return the identity of a `deltafast.Generator`.

        Raises `InvalidInputError` for anything else, and for one whose name no file could hold: empty, of more than 200
        characters, or with some that are not printable.
        """
        check_generator(generator)
        names = {key: str(getattr(generator, key)) for key in ("name", "fingerprint", "w_space")}
        return cls.from_json({**names, "slots": [str(name) for name in getattr(generator, "slots", ()) or ()]})

    @classmethod
    def from_json(cls, value: Any) -> GeneratorId:
        """Read what `dataclasses.asdict` gave; raises `InvalidInputError` for anything else."""
        try:
            name, fingerprint, w_space = (
                check_name(value[key], f"a generator's {key}") for key in ("name", "fingerprint", "w_space")
            )
            slots = tuple(check_name(slot, "a slot's name") for slot in value.get("slots", ()))
            return cls(name, fingerprint, w_space, slots)
        except (KeyError, TypeError, AttributeError, UnreadableError) as error:
            raise InvalidInputError(
                f"a generator's identity needs name, fingerprint and w_space: {reason_of(error)}"
            ) from error


@dataclass
class SequenceLatents:
    """The W+ latents of all frames of synthetic sequences.

    `attributes`: for each attribute the values of its n frames, strictly monotonic (degrees, or fractions 0..1);
    `identities`: their names; `latents[attribute, identity]`: float32 `[n, num_ws, w_dim]`; `generator`: whose W+ it
    is; `source`: sha256 of the manifest of the rendered sequences, or "". Names have 1 to 200 printable characters. The
    dictionaries are copied. Raises `InvalidInputError` when a tensor is missing, surplus, of another shape, or not
    finite, and for a name that a file could not hold.
    """

    attributes: dict[str, list[float]]
    identities: list[str]
    latents: dict[tuple[str, str], Tensor] = field(repr=False)
    generator: GeneratorId
    source: str = ""

    def __post_init__(self) -> None:
        self.attributes = {name: [float(v) for v in values] for name, values in self.attributes.items()}
        self.identities = list(self.identities)
        if not self.attributes or not self.identities:
            raise InvalidInputError("sequence latents need at least one attribute and one identity")
        if len(set(self.identities)) != len(self.identities):
            raise InvalidInputError("sequence latents name an identity twice")
        self._check_names()
        surplus = set(self.latents) - {(a, i) for a in self.attributes for i in self.identities}
        if surplus:
            named = min(repr(key)[:80] for key in surplus)
            raise InvalidInputError(
                f"latents {named} are of none of the attributes and identities ({len(surplus)} in all)"
            )
        checked: dict[tuple[str, str], Tensor] = {}
        shape: tuple[int, ...] | None = None
        for attribute, values in self.attributes.items():
            _check_values(attribute, values)
            for identity in self.identities:
                tensor = self._checked(attribute, identity, len(values))
                shape = shape or tuple(tensor.shape[1:])
                if tuple(tensor.shape[1:]) != shape:
                    expected = f"[{len(values)}, {shape[0]}, {shape[1]}]"
                    raise InvalidInputError(
                        f"latents {attribute}/{identity} are {list(tensor.shape)}, the first ones say {expected}"
                    )
                checked[attribute, identity] = tensor
        self.latents = checked

    def _check_names(self) -> None:
        GeneratorId.from_json(asdict(self.generator))
        try:
            for name in self.attributes:
                check_name(name, "an attribute")
            for name in self.identities:
                check_name(name, "an identity")
            if self.source != "":
                check_name(self.source, "the source")
        except UnreadableError as error:
            raise InvalidInputError(str(error)) from error

    def _checked(self, attribute: str, identity: str, frames: int) -> Tensor:
        tensor = self.latents.get((attribute, identity))
        name = f"latents {attribute}/{identity}"
        if tensor is None:
            raise InvalidInputError(f"{name} are missing; every attribute needs a sequence of every identity")
        if tensor.ndim != 3 or tensor.shape[0] != frames or not tensor.is_floating_point():
            expected = f"floating point [{frames}, num_ws, w_dim], one row for each value of the attribute"
            raise InvalidInputError(f"{name} are {tensor.dtype} {list(tensor.shape)}, expected {expected}")
        if not bool(torch.isfinite(tensor).all()):
            raise InvalidInputError(f"{name} hold NaN or infinity; project these frames again")
        return tensor.detach().to("cpu", torch.float32).contiguous()

    @property
    def num_ws(self) -> int:
        """Number of W+ slots."""
        return int(next(iter(self.latents.values())).shape[1])

    @property
    def w_dim(self) -> int:
        """Number of components of a W code."""
        return int(next(iter(self.latents.values())).shape[2])

    def stack(self, attribute: str) -> Tensor:
        """Return one attribute's latents of all identities, float32 `[K, n, num_ws, w_dim]`.

        Raises `InvalidInputError` for an attribute that is not there.
        """
        if attribute not in self.attributes:
            raise InvalidInputError(
                f"no sequences of attribute {attribute!r}; there are {', '.join(sorted(self.attributes))}"
            )
        return torch.stack([self.latents[attribute, identity] for identity in self.identities])

    def select(self, identities: Iterable[str]) -> SequenceLatents:
        """Return the same sequences of some identities only; raises `InvalidInputError` for an unknown name."""
        names = list(identities)
        unknown = [name for name in names if name not in self.identities]
        if unknown:
            raise InvalidInputError(f"no such identity: {', '.join(unknown)}; there are {', '.join(self.identities)}")
        latents = {(a, i): self.latents[a, i] for a in self.attributes for i in names}
        return SequenceLatents(dict(self.attributes), names, latents, self.generator, self.source)

    def split_identities(self, held_out: int, *, seed: int = 0) -> tuple[SequenceLatents, SequenceLatents]:
        """Split off `held_out` identities that training shall not see: (training, held out).

        The choice is random but fixed by `seed`; "female" and "male", the paper's two heads, stay in training as long
        as others can be held out. Raises `InvalidInputError` unless at least one identity remains on each side.
        """
        if not 1 <= held_out < len(self.identities):
            raise InvalidInputError(
                f"cannot hold out {held_out} of {len(self.identities)} identities; at least one must stay on each side"
            )
        named = [name for name in self.identities if name in ("female", "male")]
        others = [name for name in self.identities if name not in named]
        order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed)).tolist()
        chosen = set(([others[i] for i in order] + named)[:held_out])
        return (
            self.select(name for name in self.identities if name not in chosen),
            self.select(name for name in self.identities if name in chosen),
        )

    def digest(self, attribute: str) -> str:
        """Return a sha256 (64 hexadecimal digits) of one attribute's values, identities and latents."""
        head = {"values": self.attributes.get(attribute), "identities": self.identities}
        result = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
        result.update(self.stack(attribute).numpy().tobytes())
        return result.hexdigest()

    def save(self, path: str | os.PathLike[str], *, half: bool = False) -> None:
        """Write the file, atomically; with `half` in half the size, rounded to fp16 (a 2,000th of each value).

        Raises `DiskError` where it cannot be written.
        """
        from safetensors.torch import save_file

        head = {
            "format": _FORMAT,
            "version": _VERSION,
            "attributes": self.attributes,
            "identities": self.identities,
            "generator": asdict(self.generator),
            "source": self.source,
        }
        tensors = {f"{a}/{i}": self.latents[a, i] for a in self.attributes for i in self.identities}
        # one tensor may be several keys' (the neutral face); safetensors wants each to own its memory
        tensors = {key: tensor.half() if half else tensor.clone() for key, tensor in tensors.items()}
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata={_KEY: json.dumps(head, sort_keys=True)})


def load_latents(path: str | os.PathLike[str]) -> SequenceLatents:
    """Read a file of projected sequences.

    Raises `InvalidInputError` that names the file and the reason when it is missing, damaged, of another format
    version, incomplete, or not finite.
    """
    name = os.fspath(path)
    with reading(lambda reason: InvalidInputError(f"{name} cannot be read as a latents file: {reason}")):
        tensors, metadata = read_safetensors(path)
        head = parse_json(metadata.get(_KEY, "null"))
        if not isinstance(head, dict) or "format" not in head:
            raise InvalidInputError(
                f"{name} lacks the metadata of projected sequences; write it with `deltafast project`"
            )
        if head["format"] != _FORMAT:
            raise InvalidInputError(f"{name} is no file of projected sequences (format {shown(head['format'])})")
        if head["version"] != _VERSION:
            raise InvalidInputError(
                f"{name} has format version {shown(head['version'])}, this deltafast reads version {_VERSION}; "
                "project again"
            )
        attributes = {check_name(k, "an attribute"): [float(v) for v in vs] for k, vs in head["attributes"].items()}
        identities = [check_name(identity, "an identity") for identity in head["identities"]]
        latents = {}
        for key, tensor in tensors.items():
            attribute, _, identity = key.partition("/")
            latents[attribute, identity] = tensor.float() if tensor.is_floating_point() else tensor
        generator = _in_file(name, lambda: GeneratorId.from_json(head["generator"]))
        source = head.get("source", "")
        if source != "":
            check_name(source, "the source")
        return _in_file(name, lambda: SequenceLatents(attributes, identities, latents, generator, source))


def _in_file(name: str, make: Callable[[], T]) -> T:
    """Return what `make` gives; its errors name the file."""
    try:
        return make()
    except InvalidInputError as error:
        raise InvalidInputError(f"{name}: {error}") from error


def _check_values(attribute: str, values: list[float]) -> None:
    if not attribute or "/" in attribute:
        raise InvalidInputError(f"an attribute's name must not be empty or hold a slash; got {attribute!r}")
    steps = [b - a for a, b in itertools.pairwise(values)]
    monotonic = (all(s > 0 for s in steps) or all(s < 0 for s in steps)) and all(map(math.isfinite, values))
    if len(values) < 2 or not monotonic:
        raise InvalidInputError(
            f"attribute {attribute} has values {values}; expected at least two, strictly rising or falling"
        )
