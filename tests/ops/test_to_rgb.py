"""to_rgb: conversion, bias, clamp and skip image in one pass, in every layout, precision and size."""

from __future__ import annotations

import pytest
import torch
from op_checks import DEVICES, LAYOUTS, NATIVE, check_against_float64, image

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import _library, setup_filter, to_rgb, to_rgb_reference

NAME = "to_rgb"
SHAPES = [(2, 3, 6, 8), (1, 70, 4, 4), (3, 8, 16, 16), (2, 1, 2, 2), (1, 512, 4, 6), (1, 64, 34, 30)]


def arguments(x: torch.Tensor, colours: int = 3, requires_grad: bool = True) -> dict[str, torch.Tensor]:
    """All tensors beside x and the filter; the skip image is of half its size."""
    n, c, h, w = x.shape
    g = torch.Generator().manual_seed(7)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    made = {
        "weight": (torch.randn(colours, c, 1, 1, generator=g) / c**0.5).to(x.dtype),
        "style": (torch.rand(n, c, generator=g) + 0.5).to(dtype),
        "bias": torch.randn(colours, generator=g).to(dtype),
        "skip": torch.randn(n, colours, h // 2, w // 2, generator=g).to(dtype),
    }
    return {k: v.to(x.device).requires_grad_(requires_grad) for k, v in made.items()}


def native(*args: object, **options: object) -> torch.Tensor:
    return to_rgb(*args, **options, impl="native")


def checked(x: torch.Tensor, taps: list[float], given: dict[str, torch.Tensor], **options: object) -> None:
    f = setup_filter(taps).to(x.device)

    def run(how: object) -> object:
        def call(x: torch.Tensor, **tensors: torch.Tensor) -> torch.Tensor:
            assert callable(how)
            y = how(x, **tensors, f=f if "skip" in tensors else None, **options)
            assert isinstance(y, torch.Tensor)
            return y

        return call

    check_against_float64(NAME, run(native), run(to_rgb_reference), x, **given)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
def test_result_and_all_gradients_match_float64(
    device: str, dtype: torch.dtype, shape: tuple[int, ...], layout: str
) -> None:
    x = image(shape, layout, dtype, device).requires_grad_()
    checked(x, [1.0, 3.0, 3.0, 2.0], arguments(x))
    if dtype in (torch.float32, torch.float64):  # at the limit itself, rounding decides which gradient there is
        checked(x, [1.0, 3.0, 3.0, 2.0], arguments(x), clamp=1.25)


@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
@pytest.mark.parametrize("colours", [1, 2, 4, 8])
def test_any_number_of_image_channels(device: str, dtype: torch.dtype, colours: int) -> None:
    x = image((2, 20, 6, 4), "channels_last", dtype, device).requires_grad_()
    checked(x, [1.0, 3.0, 3.0, 1.0], arguments(x, colours))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("taps", [[1.0, 2.0], [1.0, 2.0, 3.0], list(range(1, 17)), [[1.0, 2.0], [3.0, 4.0]]], ids=str)
def test_any_filter(device: str, taps: list[float]) -> None:
    x = image((2, 8, 6, 10), "channels_last", torch.float32, device).requires_grad_()
    checked(x, taps, arguments(x))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("left_out", ["bias", "skip"])
def test_every_argument_can_be_left_out(device: str, left_out: str) -> None:
    x = image((2, 12, 5 if left_out == "skip" else 6, 4), "channels_last", torch.float32, device).requires_grad_()
    given = arguments(x)
    del given[left_out]
    checked(x, [1.0, 3.0, 3.0, 1.0], given)


@pytest.mark.parametrize("name", _library._C.build_info()["cpu_instruction_sets"])
def test_every_instruction_set_gives_the_same_result(name: str) -> None:
    in_use = _library._C.build_info()["cpu_instruction_set"]
    try:
        _library._C.use_instruction_set(name)
        x = image((2, 67, 8, 6), "channels_last", torch.float32, "cpu").requires_grad_()
        checked(x, [1.0, 3.0, 3.0, 1.0], arguments(x), clamp=1.0)
    finally:
        _library._C.use_instruction_set(in_use)


@pytest.mark.parametrize("device", DEVICES)
def test_the_image_is_contiguous_and_of_full_precision(device: str) -> None:
    x = image((2, 8, 4, 4), "channels_last", torch.float32, device)
    given = arguments(x, requires_grad=False)
    y = native(x, **given, f=setup_filter([1.0, 3.0, 3.0, 1.0]).to(device))
    assert y.is_contiguous()
    low = to_rgb(x.half(), given["weight"].half(), given["style"])
    assert low.dtype == torch.float32


@pytest.mark.parametrize("device", DEVICES)
def test_empty_batch(device: str) -> None:
    x = torch.zeros(0, 5, 4, 4, device=device, requires_grad=True)
    given = arguments(x)
    y = native(x, **given, f=setup_filter([1.0, 3.0, 3.0, 1.0]).to(device), clamp=1.0)
    assert y.shape == (0, 3, 4, 4)
    y.sum().backward()
    assert given["weight"].grad is not None
    assert float(given["weight"].grad.abs().sum()) == 0.0


@pytest.mark.parametrize("device", DEVICES)
def test_repeated_runs_are_equal_to_the_bit(device: str) -> None:
    x = image((2, 48, 64, 64), "channels_last", torch.float32, device).requires_grad_()
    f, runs = setup_filter([1.0, 3.0, 3.0, 1.0]).to(device), []
    for _ in range(2):
        given = arguments(x)
        y = native(x, **given, f=f, clamp=1.0)
        runs.append([y, *torch.autograd.grad(y.square().sum(), [x, *given.values()])])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_second_derivative_matches_the_reference() -> None:
    f = setup_filter([1.0, 3.0, 3.0, 1.0])
    results = []
    for impl in ("native", "reference"):
        x = image((1, 4, 4, 4), "channels_last", torch.float64, "cpu").requires_grad_()
        given = arguments(x)
        y = to_rgb(x, **given, f=f, clamp=1.0, impl=impl)
        grads = torch.autograd.grad(y.pow(3).sum(), [x, given["style"], given["skip"]], create_graph=True)
        total = torch.stack([grad.pow(2).sum() for grad in grads]).sum()
        results.append(torch.autograd.grad(total, [x, given["weight"], given["skip"]]))
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    f = setup_filter([1.0, 3.0, 3.0, 1.0]).to(device)
    for layout in ("contiguous", "channels_last"):
        x = image((2, 5, 6, 4), layout, torch.float32, device).requires_grad_()
        own = torch.randn(2, 3, 5, device=device, requires_grad=True)
        bias = torch.randn(3, device=device, requires_grad=True)
        skip = torch.randn(2, 3, 3, 2, device=device, requires_grad=True)
        op = torch.ops.deltafast.to_rgb.default
        torch.library.opcheck(op, (x, own, bias, 1.0, skip, f, 4.0))
        torch.library.opcheck(op, (x, own, None, None, None, None, 4.0))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_breaks(device: str) -> None:
    f = setup_filter([1.0, 3.0, 3.0, 1.0]).to(device)
    x = image((2, 4, 6, 6), "channels_last", torch.float32, device).requires_grad_()
    given = arguments(x)

    def layer(x: torch.Tensor, **given: torch.Tensor) -> torch.Tensor:
        return to_rgb(x * 2.0, **given, f=f, clamp=1.0) + 1.0

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    expected, result = layer(x, **given), compiled(x, **given)
    torch.testing.assert_close(result, expected)
    wanted = [x, *given.values()]
    for ours, eager in zip(
        torch.autograd.grad(result.sum(), wanted), torch.autograd.grad(expected.sum(), wanted), strict=True
    ):
        torch.testing.assert_close(ours, eager)


def test_where_there_is_no_kernel_the_reference_runs_and_native_is_refused() -> None:
    x = image((1, 2, 4, 4), "channels_last", torch.bfloat16, "cpu")
    weight, style = torch.ones(3, 2, 1, 1, dtype=torch.bfloat16), torch.ones(1, 2)
    assert torch.equal(to_rgb(x, weight, style), to_rgb_reference(x, weight, style))
    with pytest.raises(NativeOpError, match="no native CPU kernel for bfloat16"):
        native(x, weight, style)
    many = torch.ones(9, 2, 1, 1)
    assert to_rgb(x.float(), many, style).shape == (1, 9, 4, 4)
    with pytest.raises(NativeOpError, match="at most 8 image channels, asked for 9"):
        native(x.float(), many, style)


BAD = [
    ({"x": torch.zeros(3, 4, 4)}, r"x must be \[N, C, H, W\]"),
    ({"weight": torch.zeros(3, 2)}, r"weight must be \[K, C, 1, 1\]"),
    ({"weight": torch.zeros(0, 2, 1, 1)}, "at least one image channel"),
    ({"style": torch.zeros(2, 2)}, r"style must be \[N, C\] = \[1, 2\]"),
    ({"bias": torch.zeros(2)}, r"bias must be \[K\] = \[3\]"),
    ({"clamp": 0.0}, "clamp must be positive"),
    ({"skip": torch.zeros(1, 3, 2, 2)}, "skip and its filter f belong together"),
    ({"skip": torch.zeros(1, 3, 3, 2), "f": torch.ones(4)}, r"skip must be \[N, K, H / 2, W / 2\]"),
    ({"x": torch.zeros(1, 2, 5, 4), "skip": torch.zeros(1, 3, 2, 2), "f": torch.ones(4)}, "must be even, got 5 x 4"),
    ({"skip": torch.zeros(1, 3, 2, 2), "f": torch.ones(1)}, "at least 2 taps"),
    ({"skip": torch.zeros(1, 3, 2, 2), "f": torch.ones(4, device="meta")}, "f is on meta, but x is on cpu"),
    ({"skip": torch.zeros(1, 3, 2, 2), "f": torch.ones(4, requires_grad=True)}, "must not require a gradient"),
    ({"impl": "fast"}, "impl must be"),
]


@pytest.mark.parametrize(("wrong", "text"), BAD, ids=[text[:28] + str(i) for i, (_, text) in enumerate(BAD)])
def test_bad_input_is_named(wrong: dict[str, object], text: str) -> None:
    good = {"x": torch.zeros(1, 2, 4, 4), "weight": torch.zeros(3, 2, 1, 1), "style": torch.zeros(1, 2)}
    with pytest.raises(InvalidInputError, match=text):
        to_rgb(**{**good, **wrong})
