"""The fused ops beside plain torch, on layers of a 1024 x 1024 generator; each is checked before it is timed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from deltafast.ops import modulated_epilogue, setup_filter, upfirdn2d
from deltafast.ops.tolerance import allowed_error, max_error

_IMPLS = ("native", "reference")
_LAYERS = [(512, 64), (256, 256), (64, 1024)]  # (channels, resolution)
_DTYPES = [torch.float32, torch.float16]


def _batch(device: torch.device) -> int:
    return 8 if device.type == "cuda" else 1


def _skip_unusual(device: torch.device, dtype: torch.dtype) -> None:
    if device.type == "cpu" and dtype is not torch.float32:
        pytest.skip("half precision is for GPUs")


def _check(op: str, call: Callable[..., Tensor], plain: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    """Fail unless the result is within the table of tolerances of the reference in float64."""
    exact = plain(*(value.double() for value in inputs))
    assert max_error(call(*inputs), exact) <= allowed_error(op, "forward", plain(*inputs), exact)


@pytest.mark.parametrize("impl", _IMPLS)
@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
@pytest.mark.parametrize(("channels", "size"), _LAYERS)
def test_modulated_epilogue(
    channels: int, size: int, dtype: torch.dtype, impl: str, device: torch.device, timed: Callable[..., None]
) -> None:
    _skip_unusual(device, dtype)
    n = _batch(device)
    x = torch.randn(n, channels, size, size, device=device, dtype=dtype)  # [N, C, H, W]
    demod = torch.rand(n, channels, device=device) + 0.5  # [N, C]
    noise = torch.randn(1, 1, size, size, device=device)  # [1, 1, H, W]
    strength = torch.tensor(0.1, device=device)  # []
    bias = torch.randn(channels, device=device)  # [C]
    style = torch.rand(n, channels, device=device) + 0.5  # [N, C]
    inputs = [x, demod, noise, strength, bias, style]

    def run(how: str) -> Callable[..., Tensor]:
        return lambda x, d, z, s, b, t: modulated_epilogue(x, d, z, s, b, next_style=t, clamp=256.0, impl=how)

    with torch.inference_mode():
        _check("modulated_epilogue", run(impl), run("reference"), inputs)
        timed(run(impl), inputs, moved=2 * x.nbytes + noise.nbytes)


@pytest.mark.parametrize("impl", _IMPLS)
@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
@pytest.mark.parametrize(("channels", "size"), _LAYERS)
@pytest.mark.parametrize("up", [1, 2], ids=["blur", "up2"])
def test_upfirdn2d(
    channels: int, size: int, up: int, dtype: torch.dtype, impl: str, device: torch.device, timed: Callable[..., None]
) -> None:
    _skip_unusual(device, dtype)
    x = torch.randn(_batch(device), channels, size // up, size // up, device=device, dtype=dtype)  # [N, C, h, w]
    taps = setup_filter([1, 3, 3, 1]).to(device)  # [4]

    def run(how: str) -> Callable[..., Tensor]:
        return lambda x: upfirdn2d(x, taps, up=up, padding=(2, 1), gain=float(up * up), impl=how)

    with torch.inference_mode():
        _check("upfirdn2d", run(impl), run("reference"), [x])
        timed(run(impl), [x], moved=x.nbytes * (1 + up * up))
