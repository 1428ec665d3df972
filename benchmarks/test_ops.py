"""The fused ops beside plain torch, on layers of a 1024 x 1024 generator; each is checked before it is timed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from benchmarks.ceilings import Ceilings
from deltafast.ops import (
    activated_depthwise,
    epilogue_to_rgb,
    filtered_epilogue,
    modulated_conv2d,
    modulated_epilogue,
    setup_filter,
    subband_image,
    to_rgb,
    upfirdn2d,
)
from deltafast.ops.tolerance import allowed_error, max_error

_IMPLS = ("native", "reference")
_CUDA_ALONE = "its kernel is for CUDA alone"
_LAYERS = [(512, 64), (256, 256), (64, 1024)]  # (channels, resolution)
_DTYPES = [torch.float32, torch.float16]
_REHEARSED_SIZE = 16  # pixels

CeilingsOf = Callable[[torch.device, torch.dtype], Ceilings]


@pytest.fixture
def image(device: torch.device, rehearse: bool) -> Callable[..., Tensor]:
    """Return `image(channels, size, dtype)`, which draws a channels-last batch as generators have it."""

    def draw(channels: int, size: int, dtype: torch.dtype) -> Tensor:
        if device.type == "cpu" and dtype is not torch.float32:
            pytest.skip("half precision is for GPUs")
        batch, size = (8 if device.type == "cuda" else 1), (_REHEARSED_SIZE if rehearse else size)
        x = torch.randn(batch, channels, size, size, device=device, dtype=dtype)  # [N, C, H, W]
        return x.contiguous(memory_format=torch.channels_last)

    return draw


def _check(op: str, call: Callable[..., Tensor], plain: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    """Fail unless the result is within the table of tolerances of the reference in float64."""
    exact = plain(*(value.double() for value in inputs))
    assert max_error(call(*inputs), exact) <= allowed_error(op, "forward", plain(*inputs), exact)


@pytest.mark.parametrize("impl", _IMPLS)
@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
@pytest.mark.parametrize(("channels", "size"), _LAYERS)
def test_modulated_epilogue(
    channels: int,
    size: int,
    dtype: torch.dtype,
    impl: str,
    device: torch.device,
    image: Callable[..., Tensor],
    ceilings: CeilingsOf,
    timed: Callable[..., None],
) -> None:
    x = image(channels, size, dtype)  # [N, C, H, W]
    n, height = x.shape[0], x.shape[2]
    demod = torch.rand(n, channels, device=device) + 0.5  # [N, C]
    noise = torch.randn(1, 1, height, height, device=device)  # [1, 1, H, W]
    strength = torch.tensor(0.1, device=device)  # []
    bias = torch.randn(channels, device=device)  # [C]
    style = torch.rand(n, channels, device=device) + 0.5  # [N, C]
    inputs = [x, demod, noise, strength, bias, style]

    def run(how: str) -> Callable[..., Tensor]:
        return lambda x, d, z, s, b, t: modulated_epilogue(x, d, z, s, b, next_style=t, clamp=256.0, impl=how)

    moved = 2 * x.nbytes + noise.nbytes
    with torch.inference_mode():
        _check("modulated_epilogue", run(impl), run("reference"), inputs)
        _time(timed, ceilings, run(impl), inputs, moved, f"modulated_epilogue {channels} x {size}", impl)


@pytest.mark.parametrize("impl", _IMPLS)
@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
@pytest.mark.parametrize(("channels", "size"), _LAYERS)
@pytest.mark.parametrize("up", [1, 2], ids=["blur", "up2"])
def test_upfirdn2d(
    channels: int,
    size: int,
    up: int,
    dtype: torch.dtype,
    impl: str,
    image: Callable[..., Tensor],
    ceilings: CeilingsOf,
    timed: Callable[..., None],
) -> None:
    x = image(channels, size // up, dtype)  # [N, C, h, w]
    taps = setup_filter([1, 3, 3, 1]).to(x.device)  # [4]

    def run(how: str) -> Callable[..., Tensor]:
        return lambda x: upfirdn2d(x, taps, up=up, padding=(2, 1), gain=float(up * up), impl=how)

    moved = x.nbytes * (1 + up * up)
    with torch.inference_mode():
        _check("upfirdn2d", run(impl), run("reference"), [x])
        _time(timed, ceilings, run(impl), [x], moved, f"upfirdn2d up={up} {channels} x {size}", impl)


@pytest.mark.parametrize("impl", _IMPLS)
@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
@pytest.mark.parametrize(("channels", "size"), _LAYERS)
def test_filtered_epilogue(
    channels: int,
    size: int,
    dtype: torch.dtype,
    impl: str,
    image: Callable[..., Tensor],
    ceilings: CeilingsOf,
    timed: Callable[..., None],
) -> None:
    x = image(channels, size + 1, dtype).contiguous(memory_format=torch.channels_last)  # [N, C, H + 1, W + 1]
    demod = torch.rand(x.shape[0], channels, device=x.device) + 0.5  # [N, C]
    bias = torch.randn(channels, device=x.device)  # [C]
    taps = setup_filter([1, 3, 3, 1]).to(x.device)  # [4]

    def run(how: str) -> Callable[..., Tensor]:
        return lambda x, d, b: filtered_epilogue(x, taps, d, bias=b, padding=1, filter_gain=4.0, impl=how)

    with torch.inference_mode():
        _check("filtered_epilogue", run(impl), run("reference"), [x, demod, bias])
        case = f"filtered_epilogue {channels} x {size}"
        _time(timed, ceilings, run(impl), [x, demod, bias], 2 * x.nbytes, case, impl)


@pytest.mark.parametrize("impl", _IMPLS)
@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
@pytest.mark.parametrize(("channels", "size"), _LAYERS)
def test_to_rgb(
    channels: int,
    size: int,
    dtype: torch.dtype,
    impl: str,
    image: Callable[..., Tensor],
    ceilings: CeilingsOf,
    timed: Callable[..., None],
) -> None:
    x = image(channels, size, dtype).contiguous(memory_format=torch.channels_last)  # [N, C, H, W]
    n = x.shape[0]
    weight = (torch.randn(3, channels, 1, 1, device=x.device) / channels**0.5).to(dtype)  # [3, C, 1, 1]
    style = torch.rand(n, channels, device=x.device) + 0.5  # [N, C]
    skip = torch.randn(n, 3, x.shape[2] // 2, x.shape[3] // 2, device=x.device)  # [N, 3, H / 2, W / 2]
    taps = setup_filter([1, 3, 3, 1]).to(x.device)  # [4]

    def run(how: str) -> Callable[..., Tensor]:
        return lambda x, w, s, image: to_rgb(x, w, s, skip=image, f=taps, impl=how)

    with torch.inference_mode():
        _check("to_rgb", run(impl), run("reference"), [x, weight, style, skip])
        moved = x.nbytes + 5 * skip.nbytes
        _time(timed, ceilings, run(impl), [x, weight, style, skip], moved, f"to_rgb {channels} x {size}", impl)


@pytest.mark.parametrize("impl", [*_IMPLS, "modulated_epilogue, to_rgb and the style"])
@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
@pytest.mark.parametrize(("channels", "size"), _LAYERS)
def test_epilogue_to_rgb(
    channels: int,
    size: int,
    dtype: torch.dtype,
    impl: str,
    image: Callable[..., Tensor],
    ceilings: CeilingsOf,
    timed: Callable[..., None],
) -> None:
    x = image(channels, size, dtype).contiguous(memory_format=torch.channels_last)  # [N, C, H, W]
    if impl == "native" and x.device.type == "cpu":
        pytest.skip(_CUDA_ALONE)
    n = x.shape[0]
    weight = (torch.randn(3, channels, 1, 1, device=x.device) / channels**0.5).to(dtype)  # [3, C, 1, 1]
    demod, style = (torch.rand(n, channels, device=x.device) + 0.5 for _ in range(2))  # [N, C]
    skip = torch.randn(n, 3, x.shape[2] // 2, x.shape[3] // 2, device=x.device)  # [N, 3, H / 2, W / 2]
    taps = setup_filter([1, 3, 3, 1]).to(x.device)  # [4]

    def run(how: str) -> Callable[..., tuple[Tensor, Tensor]]:
        def fused(x: Tensor, d: Tensor, w: Tensor, s: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
            rgb = {"rgb_weight": w, "rgb_style": s, "skip": image, "f": taps, "next_style": s}
            y, made = epilogue_to_rgb(x, d, **rgb, impl=how)
            assert y is not None
            return y, made

        def one_by_one(x: Tensor, d: Tensor, w: Tensor, s: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
            y = modulated_epilogue(x, d, impl="native")
            made = to_rgb(y, w, s, skip=image, f=taps, impl="native")
            return y * s.to(y.dtype)[:, :, None, None], made

        return fused if how in _IMPLS else one_by_one

    inputs = [x, demod, weight, style, skip]
    with torch.inference_mode():
        for result in range(2):  # the activations, the image
            ways = [lambda *given, how=how, result=result: run(how)(*given)[result] for how in (impl, "reference")]
            _check("epilogue_to_rgb", *ways, inputs)
        moved = 2 * x.nbytes + 5 * skip.nbytes
        _time(timed, ceilings, run(impl), inputs, moved, f"epilogue_to_rgb {channels} x {size}", impl)


@pytest.mark.parametrize(
    ("kernel", "impl"),
    [("implicit_conv", "mma"), ("implicit_conv", "cudnn"), ("wgmma_conv", "wgmma"), ("wgmma_conv", "cudnn")],
)
@pytest.mark.parametrize("up", [1, 2])
@pytest.mark.parametrize(
    ("outputs", "size"),
    [(32, 1024), (64, 512), (128, 256), (256, 128), (512, 64), (64, 256), (128, 128), (256, 64), (512, 32)],
)
def test_implicit_conv(
    outputs: int,
    size: int,
    up: int,
    kernel: str,
    impl: str,
    device: torch.device,
    image: Callable[..., Tensor],
    ceilings: CeilingsOf,
    timed: Callable[..., None],
) -> None:
    """Layers of config F at 1024 x 1024 and of E at 256 x 256, with all that follows: our tensor cores and cuDNN's."""
    if kernel == "wgmma_conv" and torch.cuda.is_available() and torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("wgmma is sm_90's")
    x = image(up * outputs, size // up, torch.float16)  # [N, C, h, w]
    n, inputs, h, _ = x.shape
    weight = (torch.randn(outputs, inputs, 3, 3, device=device) / (3 * inputs**0.5)).to(x.dtype)  # [O, C, 3, 3]
    weight = weight.contiguous(memory_format=torch.channels_last)
    demod, bias = torch.rand(n, outputs, device=device) + 0.5, torch.randn(outputs, device=device)  # [N, O], [O]
    f = setup_filter([1, 3, 3, 1]).to(device) if up == 2 else None  # [4]

    def run(how: str) -> Callable[..., Tensor]:
        return lambda x, w, d, b: modulated_conv2d(x, w, None, d, bias=b, up=up, f=f, impl=how)

    inputs_ = [x, weight, demod, bias]
    with torch.inference_mode():
        _check(kernel, run(impl), run("reference"), inputs_)
        moved = x.nbytes + weight.nbytes + n * outputs * (up * h) ** 2 * x.element_size()
        floor_s = ceilings(device, x.dtype).floor(2.0 * 9 * n * inputs * outputs * h**2, moved)
        case = f"{kernel}{' up' if up == 2 else ''} {inputs} to {outputs} x {size}, float16, batch {n}"
        timed(run(impl), inputs_, case=case, moved=moved, floor_s=floor_s, contender=impl, baseline=impl == "cudnn")


@pytest.mark.parametrize("impl", _IMPLS)
@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
@pytest.mark.parametrize(("channels", "size"), [(512, 64), (64, 512)])
@pytest.mark.parametrize("wavelet", [False, True], ids=["plain", "wavelet"])
def test_activated_depthwise(
    channels: int,
    size: int,
    wavelet: bool,
    dtype: torch.dtype,
    impl: str,
    image: Callable[..., Tensor],
    ceilings: CeilingsOf,
    timed: Callable[..., None],
) -> None:
    x = image(4 * channels if wavelet else channels, size // 2 if wavelet else size, dtype)  # [N, C or 4 C, h, w]
    if impl == "native" and x.device.type == "cpu":
        pytest.skip(_CUDA_ALONE)
    n, width, h, w = x.shape
    depthwise = torch.randn(channels, 1, 3, 3, device=x.device)  # [C, 1, 3, 3]
    noise = torch.randn(1, 1, h, w, device=x.device)  # [1, 1, h, w]
    bias = torch.randn(width, device=x.device)  # [C or 4 C]
    style = torch.rand(n, width, device=x.device) + 0.5  # [N, C or 4 C]
    inputs = [x, depthwise, noise, bias, style]

    def run(how: str) -> Callable[..., Tensor]:
        return lambda x, d, z, b, s: activated_depthwise(x, d, z, b, style=s, wavelet=wavelet, impl=how)

    with torch.inference_mode():
        _check("activated_depthwise", run(impl), run("reference"), inputs)
        case = f"activated_depthwise{' wavelet' if wavelet else ''} {channels} x {size}"
        _time(timed, ceilings, run(impl), inputs, 2 * x.nbytes + noise.nbytes, case, impl)


@pytest.mark.parametrize("impl", _IMPLS)
@pytest.mark.parametrize("dtype", _DTYPES, ids=str)
def test_subband_image(
    dtype: torch.dtype,
    impl: str,
    image: Callable[..., Tensor],
    ceilings: CeilingsOf,
    timed: Callable[..., None],
) -> None:
    x = image(12, 512, dtype)  # [N, 12, h, w]
    if impl == "native" and x.device.type == "cpu":
        pytest.skip(_CUDA_ALONE)
    bias = torch.randn(12, device=x.device)  # [12]

    def run(how: str) -> Callable[..., Tensor]:
        return lambda x, b: subband_image(x, b, impl=how)

    with torch.inference_mode():
        _check("subband_image", run(impl), run("reference"), [x, bias])
        _time(timed, ceilings, run(impl), [x, bias], x.nbytes + 4 * x.numel(), "subband_image 12 x 512", impl)


def _time(
    timed: Callable[..., None],
    ceilings: CeilingsOf,
    call: Callable[..., Tensor],
    inputs: list[Tensor],
    moved: int,
    case: str,
    impl: str,
) -> None:
    """Time an op that is bound by memory."""
    x = inputs[0]
    floor_s = ceilings(x.device, x.dtype).floor(0.0, moved)
    dtype = str(x.dtype).removeprefix("torch.")
    what = {"contender": impl, "baseline": impl == "reference"}
    named = f"{case}, {dtype}, batch {x.shape[0]}"
    timed(call, inputs, case=named, moved=moved, floor_s=floor_s, kernels_alone=True, **what)
