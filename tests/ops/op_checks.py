"""What every op is held to: its error against float64, beside plain torch's own error at the same precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from deltafast.ops.tolerance import allowed_error, max_error

Op = Callable[..., torch.Tensor]

CUDA = [pytest.param("cuda", marks=pytest.mark.gpu)]  # of an op that has no CPU kernel
DEVICES = ["cpu", *CUDA]
NATIVE_CUDA = [
    pytest.param("cuda", dtype, marks=pytest.mark.gpu) for dtype in (torch.float32, torch.float16, torch.bfloat16)
]
NATIVE = [("cpu", torch.float32), ("cpu", torch.float64), *NATIVE_CUDA]
LAYOUTS = ["contiguous", "channels_last", "sliced", "sliced_channels_last"]


def image(shape: Sequence[int], layout: str, dtype: torch.dtype, device: str, seed: int = 0) -> torch.Tensor:
    """A random [N, C, H, W] in the given memory layout; "sliced" ones are windows of a larger tensor."""
    n, c, h, w = shape
    generator = torch.Generator().manual_seed(seed)
    if layout.startswith("sliced"):
        whole = torch.randn(n, c + 2, h + 1, w + 3, generator=generator)
        whole = whole.to(device=device, dtype=dtype)
        if layout.endswith("channels_last"):
            whole = whole.contiguous(memory_format=torch.channels_last)
        return whole[:, 1 : c + 1, 1:, 2 : w + 2]
    x = torch.randn(n, c, h, w, generator=generator).to(device=device, dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last) if layout == "channels_last" else x


def _leaf(value: object, dtype: torch.dtype | None) -> object:
    if not isinstance(value, torch.Tensor):
        return value
    leaf = value.detach() if dtype is None else value.detach().to(dtype)
    return leaf.requires_grad_(value.requires_grad)


def _run(op: Op, dtype: torch.dtype | None, *args: object, **options: object) -> list[torch.Tensor]:
    """The result of `op` and the gradients of all tensors that require one."""
    leaves = [_leaf(arg, dtype) for arg in args]
    named = {key: _leaf(value, dtype) for key, value in options.items()}
    y = op(*leaves, **named)
    wanted = [t for t in [*leaves, *named.values()] if isinstance(t, torch.Tensor) and t.requires_grad]
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(99)).to(device=y.device, dtype=y.dtype)
    return [y, *torch.autograd.grad(y, wanted, weights)]


def check_against_float64(name: str, native: Op, reference: Op, *args: object, **options: object) -> None:
    """Hold result and gradients of `native` against `reference` in float64 by the table of tolerances."""
    exact = _run(reference, torch.float64, *args, **options)
    plain = _run(reference, None, *args, **options)
    ours = _run(native, None, *args, **options)
    for index, (result, torch_result, truth) in enumerate(zip(ours, plain, exact, strict=True)):
        direction = "backward" if index else "forward"
        assert result.shape == truth.shape
        assert result.dtype == torch_result.dtype
        error, allowed = max_error(result, truth), allowed_error(name, direction, torch_result, truth)
        assert error <= allowed, f"{name} {direction} {index}: error {error:.3e}, allowed {allowed:.3e}"
