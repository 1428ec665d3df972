"""Philox4x32-10: random integers and normal numbers as a function of counter and key, without a state.

Written here because torch's generators keep a state: noise that is a function of (seed, step, place) is the same in a
replayed CUDA graph, on a CPU, and in a run that goes on where it was stopped.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from deltafast.errors import InvalidInputError
from deltafast.ops._library import Impl, runs_natively
from deltafast.ops._register import register

__all__ = ["check_noise_key", "philox4x32", "philox4x32_reference", "philox_normal", "philox_normal_reference"]

_WORD = 0xFFFFFFFF


def philox4x32(counters: Tensor, keys: Tensor, *, impl: Impl = "auto") -> Tensor:
    """Return the Philox4x32-10 words of counters, equal to the bit on every device.

    Args: `counters` int64 `[N, 4]` and `keys` int64 `[2]` on one device, words of 0 to 2^32 - 1 (of other numbers the
    low 32 bits count). `impl`: "auto", "native" or "reference". Result: int64 `[N, 4]`, words of 0 to 2^32 - 1.

    Raises `InvalidInputError` for wrong shapes, dtypes or devices, and `NativeOpError` where impl="native" has no
    kernel. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    for name, t, shape in (("counters", counters, "[N, 4]"), ("keys", keys, "[2]")):
        fits = isinstance(t, Tensor) and t.dtype == torch.int64 and t.device == counters.device
        if not fits or (t.dim(), t.shape[-1:]) != ((2, (4,)) if name == "counters" else (1, (2,))):
            raise InvalidInputError(f"philox4x32: {name} must be int64 {shape}, both on one device; got {_text(t)}")
    if not runs_natively("philox4x32", _floating(counters), impl):
        return philox4x32_reference(counters, keys)
    result: Tensor = torch.ops.deltafast.philox4x32(counters, keys)
    return result  # [N, 4]


def philox4x32_reference(counters: Tensor, keys: Tensor) -> Tensor:
    """Compute `philox4x32` in plain torch, on int64: the same arguments and result."""
    c0, c1, c2, c3 = (counters & _WORD).unbind(-1)
    k0, k1 = (keys & _WORD).unbind()
    for _ in range(10):
        high0, low0 = _product(0xD2511F53, c0)
        high1, low1 = _product(0xCD9E8D57, c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return torch.stack([c0, c1, c2, c3], -1)  # [N, 4]


def philox_normal(
    samples: int,
    elements: int,
    *,
    seed: Tensor,
    step: Tensor,
    first_sample: Tensor,
    stream: int = 0,
    impl: Impl = "auto",
) -> Tensor:
    """Return standard normal noise that depends on (seed, step, sample, stream) alone, not on how a batch is split.

    Sample k of the result is sample `first_sample + k` of the step, whatever else is drawn with it. The three numbers
    are tensors, so that a replayed CUDA graph draws fresh noise when the step advances.

    Args: `samples`, `elements`: the result's sizes. `seed`, `step`, `first_sample`: int64 `[]` on one device; steps
    and samples are told apart up to 2^44. `stream`: 0 to 255, for independent noise in one step. `impl`: "auto",
    "native" or "reference". Result: float32 `[samples, elements]` on that device; the implementations agree within
    1e-6. Element e is number e % 4 of the counter (e // 4, low half of the sample, low half of the step, stream + high
    parts), by Box and Muller from the upper 24 bits of its words.

    Raises `InvalidInputError` for wrong shapes, dtypes or devices, and `NativeOpError` where impl="native" has no
    kernel.
    """
    check_noise_key("philox_normal", seed, step, first_sample, getattr(seed, "device", None))
    if samples < 0 or elements < 0:
        raise InvalidInputError(f"philox_normal: sizes must not be negative, got {samples} and {elements}")
    if not 0 <= stream < 256:
        raise InvalidInputError(f"philox_normal: stream must be in 0..255, got {stream}")
    if not runs_natively("philox_normal", _floating(seed), impl):
        return philox_normal_reference(
            samples, elements, seed=seed, step=step, first_sample=first_sample, stream=stream
        )
    result: Tensor = torch.ops.deltafast.philox_normal(seed, step, first_sample, samples, elements, stream)
    return result  # [samples, elements]


def philox_normal_reference(
    samples: int, elements: int, *, seed: Tensor, step: Tensor, first_sample: Tensor, stream: int = 0
) -> Tensor:
    """Compute `philox_normal` in plain torch, in float64 rounded once: the same arguments and result."""
    blocks = (elements + 3) // 4
    device = seed.device
    sample = first_sample + torch.arange(samples, device=device)  # [samples]
    rest = stream | (sample >> 32 & 0xFFF) << 8 | (step >> 32 & 0xFFF) << 20  # [samples]
    counters = torch.stack(
        [
            torch.arange(blocks, device=device).expand(samples, -1),
            (sample & _WORD)[:, None].expand(-1, blocks),
            (step & _WORD).expand(samples, blocks),
            rest[:, None].expand(-1, blocks),
        ],
        -1,
    )  # [samples, blocks, 4]
    words = philox4x32_reference(counters.reshape(-1, 4), torch.stack([seed & _WORD, seed >> 32 & _WORD]))
    upper = (words >> 8).double().reshape(samples, blocks, 2, 2)  # [samples, blocks, pair, word]
    radius = torch.sqrt(-2 * torch.log((upper[..., 0] + 1) / 2**24))  # [samples, blocks, pair]
    angle = 2 * math.pi / 2**24 * upper[..., 1]
    normals = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1)  # [samples, blocks, pair, 2]
    return normals.reshape(samples, 4 * blocks)[:, :elements].float()  # [samples, elements]


def check_noise_key(op: str, seed: Tensor, step: Tensor, first_sample: Tensor, device: Any) -> None:
    """Raise `InvalidInputError` unless the three are int64 tensors `[]` on `device`."""
    for name, t in (("seed", seed), ("step", step), ("first_sample", first_sample)):
        if not isinstance(t, Tensor) or t.dtype != torch.int64 or t.dim() != 0:
            raise InvalidInputError(f"{op}: {name} must be an int64 tensor [], got {_text(t)}")
        if t.device != device:
            raise InvalidInputError(f"{op}: {name} is on {t.device}, expected {device}")


def _product(constant: int, words: Tensor) -> tuple[Tensor, Tensor]:
    """The high and low halves of constant * words, of 32 bits each, in signed 64-bit arithmetic."""
    upper, lower = constant * (words >> 16), constant * (words & 0xFFFF)  # both below 2^48
    middle = upper + (lower >> 16)
    return middle >> 16, ((middle & 0xFFFF) << 16) | (lower & 0xFFFF)


def _text(t: object) -> str:
    return f"{t.dtype} {list(t.shape)} on {t.device}" if isinstance(t, Tensor) else type(t).__name__


def _floating(t: Tensor) -> Tensor:
    """A float32 tensor on the device of `t`, by which the implementation is chosen."""
    return torch.empty(0, dtype=torch.float32, device=t.device)


def _fake_words(counters: Tensor, keys: Tensor) -> Tensor:
    return torch.empty(counters.shape, dtype=torch.int64, device=counters.device)


def _fake_normal(seed: Tensor, step: Tensor, first_sample: Tensor, samples: int, elements: int, stream: int) -> Tensor:
    return torch.empty((samples, elements), dtype=torch.float32, device=seed.device)


register("philox4x32", fake=_fake_words)
register("philox_normal", fake=_fake_normal)
