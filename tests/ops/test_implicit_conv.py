"""The convolution on tensor cores, by every tile: results and gradients against float64, and who is let in."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from op_checks import check_against_float64, image

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import (
    conv_path,
    conv_to_rgb,
    conv_to_rgb_reference,
    implicit_conv,
    implicit_conv_reference,
    modulated_conv2d,
    modulated_conv2d_reference,
    setup_filter,
)
from deltafast.ops._epilogue import Epilogue
from deltafast.ops.conv_path import CAPABILITIES_SEEN_RIGHT, OURS, chosen_path
from deltafast.ops.implicit_conv import convolve_activated
from deltafast.ops.tolerance import allowed_error, max_error

_LOW = [
    pytest.param("cuda", torch.float16, marks=pytest.mark.gpu),
    pytest.param("cuda", torch.bfloat16, marks=pytest.mark.gpu),
]
_CUDA = [pytest.param("cuda", marks=pytest.mark.gpu)]
# Three tiles along each axis: one with no border, others cut off; channels that fill no tile.
_TILES = {
    "narrow": {"up": 1, "side": 3, "inputs": 24, "outputs": 24, "size": (17, 33)},
    "narrow, streamed": {"up": 1, "side": 3, "inputs": 72, "outputs": 8, "size": (9, 20)},
    "wide": {"up": 1, "side": 3, "inputs": 8, "outputs": 72, "size": (33, 33)},
    "wide, streamed": {"up": 1, "side": 3, "inputs": 56, "outputs": 40, "size": (17, 18)},
    "pointwise": {"up": 1, "side": 1, "inputs": 40, "outputs": 72, "size": (17, 33)},
    "up": {"up": 2, "side": 3, "inputs": 24, "outputs": 40, "size": (13, 29)},
    "up, streamed": {"up": 2, "side": 3, "inputs": 40, "outputs": 8, "size": (7, 15)},
}
# Of 16 x 16 positions, 64 or 128 output channels and 64 input channels a stage: two tiles along each axis.
_WARPGROUP_TILES = {
    "warpgroups, narrow": {"up": 1, "side": 3, "inputs": 72, "outputs": 40, "size": (17, 33)},
    "warpgroups, wide": {"up": 1, "side": 3, "inputs": 24, "outputs": 136, "size": (9, 18)},
    "warpgroups, pointwise": {"up": 1, "side": 1, "inputs": 136, "outputs": 72, "size": (17, 18)},
    "warpgroups, up": {"up": 2, "side": 3, "inputs": 72, "outputs": 72, "size": (9, 16)},
}
_TILES |= _WARPGROUP_TILES


def _arguments(tile: str, batch: int, device: str, dtype: torch.dtype, *, gradients: bool = False) -> tuple[list, dict]:
    given = _TILES[tile]
    up, side, inputs, outputs, (h, w) = (given[key] for key in ("up", "side", "inputs", "outputs", "size"))
    generator = torch.Generator().manual_seed(7)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device).requires_grad_(gradients)

    x = image((batch, inputs, h, w), "channels_last", dtype, device).requires_grad_(gradients)
    weight = torch.randn(outputs, inputs, side, side, generator=generator) / (inputs * side * side) ** 0.5
    weight = weight.to(device=device, dtype=dtype).requires_grad_(gradients)
    small = [random(batch, inputs), random(batch, outputs), random(batch, 1, up * h, up * w), random(), random(outputs)]
    options = {"up": up, "f": setup_filter([1, 2, 4, 5]).to(device) if up == 2 else None, "clamp": 2.0}
    return [x, weight, *small], options


def _ours(*args: object, **options: object) -> torch.Tensor:
    return modulated_conv2d(*args, **{"impl": "mma", **options})


def _available(impl: str, device: str) -> str:
    """Return `impl`; skip where the GPU has no such instructions."""
    if impl == "wgmma" and device == "cuda" and torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("wgmma is sm_90's")
    return impl


def _impl(tile: str, device: str) -> str:
    return _available("wgmma" if tile in _WARPGROUP_TILES else "mma", device)


@pytest.mark.parametrize("tile", _TILES)
@pytest.mark.parametrize(("device", "dtype"), _LOW)
def test_the_fused_layer_is_as_exact_as_torch(device: str, dtype: torch.dtype, tile: str) -> None:
    arguments, options = _arguments(tile, 3 if dtype == torch.float16 else 1, device, dtype)
    with torch.no_grad():
        exact = modulated_conv2d_reference(*(t.double() for t in arguments), **options)
        plain = modulated_conv2d_reference(*arguments, **options)
        ours = _ours(*arguments, **options, impl=_impl(tile, device))
    assert ours.dtype == dtype
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert max_error(ours, exact) <= allowed_error("modulated_conv2d", "forward", plain, exact)


@pytest.mark.parametrize("tile", _TILES)
@pytest.mark.parametrize(("device", "dtype"), _LOW[1:])
def test_gradients_are_as_exact_as_torch(device: str, dtype: torch.dtype, tile: str) -> None:
    """Of a layer without kinks: at one, a sum that rounds to the other side changes a gradient by its own size."""
    arguments, options = _arguments(tile, 1, device, dtype, gradients=True)
    options |= {"clamp": None, "negative_slope": 1.0}
    ours = partial(_ours, impl=_impl(tile, device))
    check_against_float64("modulated_conv2d", ours, modulated_conv2d_reference, *arguments, **options)


_FORMS = ("plain", "pointwise", "up", "down")


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.parametrize("impl", ["mma", "wgmma"])
@pytest.mark.parametrize(("device", "dtype"), _LOW)
def test_the_sums_and_their_gradients_alone(device: str, dtype: torch.dtype, impl: str, form: str) -> None:
    _available(impl, device)
    x = image((1, 24, 19, 35), "channels_last", dtype, device).requires_grad_()
    side = 1 if form == "pointwise" else 3
    weight = (image((40, 24, side, side), "contiguous", dtype, device, seed=1) / 8).detach().requires_grad_()
    ours = partial(implicit_conv, impl=impl)
    check_against_float64("implicit_conv", ours, implicit_conv_reference, x, weight, form=form)


# Narrow tiles, wide ones, and more than one tile holds.
@pytest.mark.parametrize(
    ("impl", "outputs", "last"),
    [
        ("mma", 24, True),
        ("mma", 64, False),
        ("mma", 72, True),
        ("wgmma", 40, True),
        ("wgmma", 128, False),
        ("wgmma", 136, True),
    ],
)
@pytest.mark.parametrize(("device", "dtype"), _LOW)
def test_the_end_of_a_block_with_its_image(
    device: str, dtype: torch.dtype, last: bool, impl: str, outputs: int
) -> None:
    _available(impl, device)
    generator = torch.Generator().manual_seed(3)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    n, c, h, w = 2, 8, 18, 18
    x = image((n, c, h, w), "channels_last", dtype, device)
    weight = (random(outputs, c, 3, 3) / (9 * c) ** 0.5).to(dtype)
    arguments = [x, weight, random(n, outputs), random(1, 1, h, w), random(), random(outputs)]
    options = {"rgb_weight": random(3, outputs, 1, 1).to(dtype), "rgb_style": random(n, outputs)}
    options |= {"rgb_bias": random(3), "rgb_clamp": 50.0, "next_style": None if last else random(n, outputs)}
    options |= {"skip": random(n, 3, h // 2, w // 2), "f": setup_filter([1, 3, 3, 1]).to(device), "keep": not last}
    wide = {key: t.double() if isinstance(t, torch.Tensor) and key != "f" else t for key, t in options.items()}
    with torch.no_grad():
        exact = conv_to_rgb_reference(*(t.double() for t in arguments), **wide)
        plain = conv_to_rgb_reference(*arguments, **options)
        ours = conv_to_rgb(*arguments, **options, impl=impl)
    for result, torch_result, truth in zip(ours, plain, exact, strict=True):
        assert (result is None) == (truth is None) == (torch_result is None)
        if result is not None:
            assert max_error(result, truth) <= allowed_error("conv_to_rgb", "forward", torch_result, truth)


@pytest.mark.parametrize("device", _CUDA)
def test_every_run_and_every_batch_give_the_same_bits(device: str) -> None:
    arguments, options = _arguments("narrow", 3, device, torch.float16)
    first = _ours(*arguments, **options)
    assert torch.equal(first, _ours(*arguments, **options))
    alone = [arguments[0][1:2], arguments[1], *(t[1:2] if t.dim() > 1 else t for t in arguments[2:])]
    assert torch.equal(first[1:2], _ours(*alone, **options))


@pytest.mark.parametrize("device", _CUDA)
def test_a_weight_is_read_as_it_is_now(device: str) -> None:
    """Nothing is kept of it: a write that torch does not count is seen, and every layout in memory is taken."""
    arguments, options = _arguments("narrow", 1, device, torch.float16)
    x, weight = arguments[0], torch.nn.Parameter(arguments[1].contiguous(memory_format=torch.channels_last))
    with torch.no_grad():
        _ours(x, weight, **options)
        weight.data.mul_(-0.5)
        assert torch.equal(_ours(x, weight, **options), _ours(x, arguments[1] * -0.5, **options))


@pytest.mark.parametrize("device", _CUDA)
def test_an_empty_batch_and_a_filter_of_another_size(device: str) -> None:
    arguments, options = _arguments("up, streamed", 1, device, torch.float16)
    empty = [t[:0] if t.dim() > 1 and i != 1 else t for i, t in enumerate(arguments)]
    assert _ours(*empty, **options).shape == (0, 8, 14, 30)
    options["f"] = setup_filter([1, 2, 3, 4, 3, 2]).to(device)
    exact = modulated_conv2d_reference(*(t.double() for t in arguments), **options)
    plain = modulated_conv2d_reference(*arguments, **options)
    assert max_error(_ours(*arguments, **options), exact) <= allowed_error("modulated_conv2d", "forward", plain, exact)


@pytest.mark.parametrize("device", _CUDA)
def test_it_can_be_differentiated_twice(device: str) -> None:
    x = image((1, 8, 5, 6), "channels_last", torch.float16, device).requires_grad_()
    weight = image((8, 8, 3, 3), "contiguous", torch.float16, device, seed=1).requires_grad_()

    def second(convolution: object) -> torch.Tensor:
        y = convolution()
        (grad,) = torch.autograd.grad(y.float().square().sum(), x, create_graph=True)
        return torch.autograd.grad(grad.float().sum(), weight)[0]

    ours = second(lambda: implicit_conv(x, weight, form="up", impl="mma"))
    plain = second(lambda: implicit_conv_reference(x, weight, form="up"))
    torch.testing.assert_close(ours, plain, rtol=2e-2, atol=2e-2 * float(plain.abs().max()))


@pytest.mark.parametrize("device", _CUDA)
def test_opcheck(device: str) -> None:
    x = image((1, 8, 5, 6), "channels_last", torch.float16, device).requires_grad_()
    weight = image((8, 8, 3, 3), "contiguous", torch.float16, device, seed=1).requires_grad_()
    torch.library.opcheck(torch.ops.deltafast.implicit_conv, (x, weight, 0, False))
    none = (None,) * 5
    activated = (x.detach(), weight.detach(), 0, False, None, 1.0, *none, 0.2, 1.0, None)
    torch.library.opcheck(torch.ops.deltafast.implicit_conv_activated, activated)
    rgb = torch.randn(1, 3, 8, device=device)
    end = (x.detach(), weight.detach(), False, *none, 0.2, 1.0, None, rgb, None, None, None, None, 4.0, True)
    torch.library.opcheck(torch.ops.deltafast.implicit_conv_to_rgb, end)


@pytest.mark.parametrize("device", _CUDA)
@pytest.mark.parametrize("impl", ["auto", "mma"])
def test_it_compiles_in_one_graph(device: str, impl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conv_path, "_switch", "table")
    arguments, options = _arguments("up, streamed", 1, device, torch.float16)
    compiled = torch.compile(modulated_conv2d, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*arguments, **options, impl=impl), _ours(*arguments, **options))


@pytest.mark.parametrize("device", _CUDA)
def test_a_switch_rules_paths_out(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1, 64, 4, 4, dtype=torch.float16, device=device)
    small, large = (torch.zeros(o, 64, 3, 3, dtype=torch.float16, device=device) for o in (16, 512))
    hopper = device == "cpu" or torch.cuda.get_device_capability() == (9, 0)  # so is the emulation
    expected = {"": "cudnn", "cudnn": "cudnn", "mma": "mma", "table": "mma", "wgmma": "wgmma" if hopper else "cudnn"}
    for switch, path in expected.items():
        monkeypatch.setattr(conv_path, "_switch", switch)
        assert chosen_path("op", x, small, "auto") == path
        assert chosen_path("op", x, small, "cudnn") == "cudnn"
        assert chosen_path("op", x, small, "mma") == "mma"
        assert chosen_path("op", x.float(), small.float(), "auto") == "cudnn"  # no kernel
    monkeypatch.setattr(conv_path, "_switch", "table")
    assert chosen_path("op", x, large, "auto") == "cudnn"
    monkeypatch.setattr(conv_path, "_switch", "fast")
    with pytest.raises(
        InvalidInputError, match="DELTAFAST_CONV must be 'cudnn', 'mma', 'wgmma' or 'table', got 'fast'"
    ):
        chosen_path("op", x, small, "auto")


def test_the_switch_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DELTAFAST_CONV", "mma")
    spec = importlib.util.spec_from_file_location("conv_path_anew", conv_path.__file__)
    assert spec is not None
    assert spec.loader is not None
    anew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(anew)
    assert anew._switch == "mma"


@pytest.mark.parametrize("device", _CUDA)
def test_who_is_not_let_in_is_told_why(device: str) -> None:
    arguments, _ = _arguments("narrow", 1, device, torch.float16)
    for dtype, channels, text in ((torch.float32, 8, "float16 or bfloat16"), (torch.float16, 12, "multiples of 8")):
        x = torch.zeros(1, channels, 4, 4, dtype=dtype, device=device)
        with pytest.raises(NativeOpError, match=f"impl='mma' cannot run.*{text}"):
            modulated_conv2d(x, torch.zeros(8, channels, 3, 3, dtype=dtype, device=device), impl="mma")
    y = convolve_activated(arguments[0].clone().requires_grad_(), arguments[1], "plain", "mma", Epilogue())
    with pytest.raises(NativeOpError, match="no gradient"):
        y.sum().backward()


def test_on_the_cpu_there_is_no_such_kernel() -> None:
    with pytest.raises(NativeOpError, match="no such kernel for device type 'cpu'"):
        modulated_conv2d(torch.zeros(1, 8, 4, 4), torch.zeros(8, 8, 3, 3), impl="mma")
    x, weight = torch.randn(1, 8, 4, 4), torch.randn(8, 8, 3, 3)
    assert torch.equal(modulated_conv2d(x, weight, impl="cudnn"), modulated_conv2d(x, weight))


def test_nothing_is_on_by_default_that_no_gpu_has_seen(repository_root: Path) -> None:
    ledger = (repository_root / "docs" / "gpu-verified.md").read_text(encoding="utf-8")
    for path, kernels in {"mma": "implicit conv", "wgmma": "wgmma conv"}.items():
        rows = [line for line in ledger.splitlines() if line.startswith(f"| {kernels}")]
        assert rows
        assert all(("not yet run" in row) == (not CAPABILITIES_SEEN_RIGHT[path]) for row in rows)
    assert {row.path for rows in OURS.values() for row in rows} <= set(CAPABILITIES_SEEN_RIGHT)


def test_wrong_arguments_are_named() -> None:
    x, weight = torch.zeros(1, 8, 4, 4), torch.zeros(8, 8, 3, 3)
    for error, arguments in {
        "form must be one of plain, pointwise, up, down, got 'sideways'": (x, weight, "sideways"),
        r"weight must be \[O, C, 1, 1\] with C = 8, got \[8, 8, 3, 3\]": (x, weight, "pointwise"),
        "weight must be of x's dtype, torch.float32, got torch.float16": (x, weight.half(), "plain"),
        r"form 'down' takes odd H and W from 3 on, got \[4, 4\]": (x, weight, "down"),
    }.items():
        with pytest.raises(InvalidInputError, match=error):
            implicit_conv(*arguments[:2], form=arguments[2])


def test_without_a_kernel_it_is_torchs_convolution() -> None:
    x, weight = torch.randn(2, 8, 5, 7), torch.randn(4, 8, 3, 3)
    assert torch.equal(implicit_conv(x, weight), F.conv2d(x, weight, padding=1))
    assert torch.equal(implicit_conv(x, weight, form="down"), F.conv2d(x, weight, stride=2))
    wide = implicit_conv(x.double(), weight.double(), form="up")
    torch.testing.assert_close(wide, F.conv_transpose2d(x.double(), weight.double().transpose(0, 1), stride=2))
