"""The file of latents that the app gives and takes back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from deltafast.errors import InvalidInputError
from deltafast.generators.base import Generator
from deltafast.untrusted.checks import UnreadableError, reading
from deltafast.untrusted.json_text import parse_json
from deltafast.untrusted.safetensors_file import read_safetensors
from deltafast.untrusted.tensor_file import TENSOR_SUFFIXES, read_tensor

__all__ = ["latent_bytes", "read_latents"]

_KEY = "deltafast-app"
_NAMES = ("source", "ws", "w", "latents", "latent", "w_plus")
_MOST_AMOUNTS = 64


def latent_bytes(ws: Tensor, source: Tensor, amounts: Mapping[str, float], alphas: Mapping[str, float]) -> bytes:
    """Return a safetensors file: `ws`, the edited latents, `source`, those before, both `[1, num_ws, w_dim]`.

    Its metadata say by what they were edited: `amounts` in the dials' units, and the α of each.
    """
    from safetensors.torch import save

    head = json.dumps({"amounts": dict(amounts), "alphas": dict(alphas)}, sort_keys=True)
    tensors = {"ws": ws.detach().cpu().contiguous().clone(), "source": source.detach().cpu().contiguous().clone()}
    return save(tensors, metadata={_KEY: head})


def read_latents(path: Path, generator: Generator) -> tuple[Tensor, dict[str, float]]:
    """Return the latents `[1, num_ws, w_dim]` in a file, and the amounts they were edited by where the app wrote it.

    Of a file of several faces the first is taken; W codes are taken for all slots. Raises `InvalidInputError` where it
    holds no latents for this generator.
    """
    if path.suffix.lower() not in TENSOR_SUFFIXES:
        raise InvalidInputError(f"latents come in files of {', '.join(TENSOR_SUFFIXES)}")
    with reading(lambda reason: InvalidInputError(f"{path.name} cannot be read as latents: {reason}")):
        ws = read_tensor(path, _NAMES)
        amounts = _amounts(path) if path.suffix.lower() == ".safetensors" else {}
    shape = (generator.num_ws, generator.w_dim)
    if ws.ndim == 2 and tuple(ws.shape) == shape:
        ws = ws[None]
    if ws.ndim == 2 and ws.shape[1] == shape[1]:
        ws = ws[:, None].expand(-1, shape[0], -1)
    if ws.ndim != 3 or tuple(ws.shape[1:]) != shape or not len(ws):
        raise InvalidInputError(
            f"{path.name} holds {list(ws.shape)}; {generator.name} takes [N, {shape[0]}, {shape[1]}]"
        )
    return ws[:1].to(generator.device, generator.code_dtype if ws.dtype == torch.float64 else torch.float32), amounts


def _amounts(path: Path) -> dict[str, float]:
    """The amounts in the metadata; see `reading`."""
    metadata = read_safetensors(path)[1]
    if _KEY not in metadata:
        return {}
    found = parse_json(metadata[_KEY])["amounts"]
    if not isinstance(found, dict) or len(found) > _MOST_AMOUNTS:
        raise UnreadableError("its metadata do not say amounts")
    amounts = {str(key)[:60]: float(value) for key, value in found.items()}
    if not all(math.isfinite(value) for value in amounts.values()):
        raise UnreadableError("its amounts are no finite numbers")
    return amounts
