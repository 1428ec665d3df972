"""`load_generator`: a generator by name or from a checkpoint of any supported format."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from deltafast.arguments import check_device, check_generator
from deltafast.errors import CheckpointError, InvalidInputError
from deltafast.generators.base import Generator
from deltafast.generators.build import build_generator
from deltafast.generators.checkpoints.contents import read_checkpoint
from deltafast.generators.checkpoints.native import read_native, write_native
from deltafast.generators.checkpoints.recognise import check_not_url
from deltafast.generators.download import MOBILESTYLEGAN_FFHQ, fetch_mobilestylegan

__all__ = ["load_generator", "save_generator"]

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def load_generator(
    name_or_path: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Generator:
    """Load a generator in eval mode, its weights not requiring gradients.

    `name_or_path` is "mobilestylegan-ffhq" (downloaded once into the user's cache) or a checkpoint file, `~` in its
    path expanded: StyleGAN2's official TensorFlow pickles; pickles and `.pt` files of stylegan2-ada-pytorch, stylegan3
    (StyleGAN2 networks), StyleGAN-Human and PTI; `.pt` files of rosinality, encoder4editing or pSp; state dicts of
    either, under any of the usual keys and prefixes; a safetensors file of `save_generator`, or the wheel of
    MobileStyleGAN. The format is recognised from the content; nothing in the file is imported or executed, and foreign
    objects beside the generator are left alone (the logger "deltafast.checkpoints" names them).
    `device` is the CPU unless given; `dtype` (float64, float32, float16, bfloat16; default float32) is the precision
    of the convolutions. Raises `CheckpointError` for a file that cannot be read safely or completely, or that holds
    what is not supported, `DownloadError` when the named generator cannot be fetched, `InvalidInputError` for a device
    that is not there.
    """
    if dtype is not None and dtype not in _DTYPES:
        raise InvalidInputError(f"dtype must be float64, float32, float16 or bfloat16, got {dtype}")
    place = None if device is None else check_device(device)
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise InvalidInputError(f"a generator is loaded by name or path, got {type(name_or_path).__name__}")
    given = os.fspath(name_or_path)
    if given == MOBILESTYLEGAN_FFHQ:
        generator = _load_named()
    else:
        check_not_url(given)
        path = _expanded(given)
        tensors, config = read_checkpoint(path)
        config.setdefault("name", _printable(path.stem))
        generator = build_generator(tensors, config, path)
    return generator.to(device=place, dtype=dtype)


def save_generator(generator: Generator, path: str | os.PathLike[str]) -> None:
    """Write a generator as one safetensors file that `load_generator` reads; weights are stored as fp32.

    What is loaded from it has the fingerprint of the weights as they are written, also where `generator.fingerprint` is
    still the one of the checkpoint that it was loaded from; the `w_space` that a checkpoint named stays. Raises
    `InvalidInputError` for what is no generator, `DiskError` where the file cannot be written.
    """
    check_generator(generator)
    write_native(path, generator.tensors(), generator.config)


def _printable(stem: str) -> str:
    """A file's stem as a generator's name: printable, at most 200 characters."""
    return "".join(c if c.isprintable() else "?" for c in stem[:200]) or "generator"


def _expanded(given: str) -> Path:
    """A path with `~` as the home folder, left as it is where nobody's home is known."""
    try:
        return Path(given).expanduser()
    except RuntimeError:
        return Path(given)


def _load_named() -> Generator:
    path = fetch_mobilestylegan()
    try:
        tensors, config = read_native(path)
    except CheckpointError:  # damaged on disk since it was written: convert it anew, once
        path = fetch_mobilestylegan(replace=True)
        tensors, config = read_native(path)
    return build_generator(tensors, config, path)
