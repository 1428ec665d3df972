"""Checkpoints that are known and not supported, told by their keys and classes, with what to do instead."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from deltafast.errors import CheckpointError
from deltafast.untrusted.pickled_values import Record

__all__ = ["refuse_by_name"]

_SUPPORTED = "StyleGAN2 and MobileStyleGAN are supported"
_MAX_NAMES = 200_000
_MAX_DEPTH = 8


def refuse_by_name(content: Any, path: str | os.PathLike[str], *, before: bool) -> None:
    """Raise `CheckpointError` that names the kind of a checkpoint that is known not to be supported.

    `before` looks at what is refused whatever generator there may be in it, else at all kinds.
    """
    if isinstance(content, Mapping) and any(
        key in content for key in ("pytorch-lightning_version", "lightning_version", "pytorch_lightning_version")
    ):
        raise CheckpointError(
            path,
            "a checkpoint of PyTorch Lightning, a whole training in names of its own: load it with its own code and "
            "save the generator alone, torch.save(generator.state_dict(), 'generator.pt')",
        )
    if before:
        return
    names = set(_names(content))
    for signs, text in _KINDS:
        if any(_has(names, sign) for sign in signs):
            raise CheckpointError(path, text)


_KINDS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("class SuperresGenerator", "class SuperresSynthesisNetwork", "embed_proj", "embed_proj.weight"),
        f"a generator of StyleGAN-XL, which is not supported (its layers are StyleGAN3's); {_SUPPORTED}",
    ),
    (
        ("class SynthesisInput", "synthesis.input.freqs", "synthesis.input.transform"),
        f"a generator of StyleGAN3 architecture, which is not supported; {_SUPPORTED} (stylegan3's own StyleGAN2 "
        "networks, cfg=stylegan2, too)",
    ),
    (
        ("class TriPlaneGenerator", "backbone.synthesis.b4.const"),
        f"a generator of EG3D, which is not supported; {_SUPPORTED}",
    ),
    (
        ("GAN", "G.initial_block", "G.initial_conv.weight", "GE.initial_block", "S.net.0.weight"),
        "a checkpoint of lucidrains' stylegan2-pytorch, whose networks differ from StyleGAN2's (no equalised learning "
        f"rate, another noise and up-sampling), so that they cannot be converted; {_SUPPORTED}: rosinality's "
        "stylegan2-pytorch, say",
    ),
    (
        ("generator_smooth", "mapping.dense0.weight", "synthesis.early_layer.const", "synthesis.layer0.weight"),
        "a checkpoint of genforce (or of InterFaceGAN's or HiGAN's models), in names of its own: convert it back, or "
        "take the file of NVIDIA's that it was converted from",
    ),
    (
        ("style_mlp.1.weight", "constant_input.weight", "style_conv1.modulated_conv.weight"),
        "a StyleGAN2 of BasicSR (GFPGAN), in names of its own: take the file of rosinality's or NVIDIA's that it was "
        "converted from",
    ),
    (
        ("progression.0.conv1.0.conv.weight_orig", "generator.progression.0.conv1.0.conv.weight_orig"),
        f"a generator of the first StyleGAN, which is not supported; {_SUPPORTED}",
    ),
)


def _has(names: set[str], sign: str) -> bool:
    return sign in names or (
        not sign.startswith("class ") and "." in sign and any(n.endswith(f".{sign}") for n in names)
    )


def _names(content: Any) -> Iterator[str]:
    """The keys of a checkpoint's dicts, the names of its modules and `class X` for its objects."""
    waiting: list[tuple[Any, int]] = [(content, 0)]
    seen: set[int] = set()
    count = 0
    while waiting and count < _MAX_NAMES:
        value, depth = waiting.pop()
        if id(value) in seen or depth > _MAX_DEPTH:
            continue
        seen.add(id(value))
        if isinstance(value, Record):
            yield f"class {value.class_name.rpartition('.')[2]}"
            waiting += [(value.state.get(group), depth + 1) for group in ("_modules", "_parameters", "_buffers")]
        elif isinstance(value, Mapping):
            for key, item in value.items():
                count += 1
                if isinstance(key, str):
                    yield key
                waiting.append((item, depth + 1))
        elif isinstance(value, (tuple, list)) and len(value) <= 100:
            waiting += [(item, depth + 1) for item in value]
