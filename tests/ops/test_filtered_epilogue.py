"""filtered_epilogue: the filter and the epilogue in one pass, in every layout, precision and size."""

from __future__ import annotations

import math

import pytest
import torch
from op_checks import DEVICES, LAYOUTS, NATIVE, check_against_float64, image

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import (
    _library,
    filtered_epilogue,
    filtered_epilogue_reference,
    modulated_epilogue,
    setup_filter,
    upfirdn2d,
)

NAME = "filtered_epilogue"
SHAPES = [(2, 3, 5, 7), (1, 70, 9, 9), (3, 8, 17, 33), (2, 1, 3, 3), (1, 64, 40, 70)]
SMALL = ("demod", "noise", "noise_strength", "bias", "next_style")


def arguments(
    x: torch.Tensor, size: tuple[int, int], maps: int | None = None, requires_grad: bool = True
) -> dict[str, torch.Tensor]:
    """All tensors of the epilogue behind the filter."""
    n, c = x.shape[:2]
    g = torch.Generator().manual_seed(7)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    made = {
        "demod": torch.rand(n, c, generator=g) + 0.5,
        "noise": torch.randn(n if maps is None else maps, 1, *size, generator=g),
        "noise_strength": torch.tensor(0.3),
        "bias": torch.randn(c, generator=g),
        "next_style": torch.randn(n, c, generator=g),
    }
    return {k: v.to(device=x.device, dtype=dtype).requires_grad_(requires_grad) for k, v in made.items()}


def checked(x: torch.Tensor, f: torch.Tensor, padding: tuple[int, int, int, int], **options: object) -> None:
    def run(how: object) -> object:
        def call(x: torch.Tensor, **given: torch.Tensor) -> torch.Tensor:
            assert callable(how)
            y = how(x, f, padding=padding, filter_gain=4.0, **given)
            assert isinstance(y, torch.Tensor)
            return y

        return call

    native = run(lambda *a, **o: filtered_epilogue(*a, **o, impl="native"))
    check_against_float64(NAME, native, run(filtered_epilogue_reference), x, **options)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
def test_result_and_all_gradients_match_float64(
    device: str, dtype: torch.dtype, shape: tuple[int, ...], layout: str
) -> None:
    f = setup_filter([1.0, 3.0, 3.0, 2.0]).to(device)
    x = image(shape, layout, dtype, device).requires_grad_()
    checked(x, f, (1, 1, 1, 1), **arguments(x, (shape[2] - 1, shape[3] - 1)), clamp=1.5)


@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
@pytest.mark.parametrize("taps", [[1.0], [1.0, 2.0, -1.0], [1.0, 4.0, 6.0, 4.0, 1.0], list(range(1, 17))], ids=len)
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (8, 7, 9, 6)], ids=str)
def test_any_filter_and_padding(
    device: str, dtype: torch.dtype, taps: list[float], padding: tuple[int, int, int, int]
) -> None:
    f = setup_filter(taps).to(device)
    x = image((2, 12, 18, 21), "channels_last", dtype, device).requires_grad_()
    height, width = 18 + padding[2] + padding[3] - len(taps) + 1, 21 + padding[0] + padding[1] - len(taps) + 1
    checked(x, f, padding, **arguments(x, (height, width)))


@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
@pytest.mark.parametrize("left_out", SMALL)
def test_every_argument_can_be_left_out(device: str, dtype: torch.dtype, left_out: str) -> None:
    x = image((2, 12, 7, 6), "channels_last", dtype, device).requires_grad_()
    given = arguments(x, (6, 5), maps=1)
    if left_out == "noise":
        del given["noise_strength"]
    del given[left_out]
    checked(x, setup_filter([1.0, 3.0, 3.0, 1.0]).to(device), (1, 1, 1, 1), **given, negative_slope=0.1, gain=1.0)


@pytest.mark.parametrize("name", _library._C.build_info()["cpu_instruction_sets"])
def test_every_instruction_set_gives_the_same_result(name: str) -> None:
    in_use = _library._C.build_info()["cpu_instruction_set"]
    try:
        _library._C.use_instruction_set(name)
        x = image((2, 67, 12, 41), "channels_last", torch.float32, "cpu").requires_grad_()
        checked(x, setup_filter([1.0, 3.0, 3.0, 1.0]), (1, 1, 1, 1), **arguments(x, (11, 40)), clamp=1.0)
    finally:
        _library._C.use_instruction_set(in_use)


@pytest.mark.parametrize("device", DEVICES)
def test_it_is_the_filter_followed_by_the_epilogue(device: str) -> None:
    f = setup_filter([1.0, 3.0, 3.0, 1.0]).to(device)
    for layout, expected in [("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)]:
        x = image((2, 24, 9, 9), layout, torch.float32, device)
        given = arguments(x, (8, 8), requires_grad=False)
        y = filtered_epilogue(x, f, **given, padding=1, filter_gain=4.0, impl="native")
        both = modulated_epilogue(upfirdn2d(x, f, padding=1, gain=4.0), **given)
        torch.testing.assert_close(y, both, rtol=1e-5, atol=1e-5)
        assert y.is_contiguous(memory_format=expected)


@pytest.mark.parametrize("device", DEVICES)
def test_empty_batch(device: str) -> None:
    x = torch.zeros(0, 3, 5, 5, device=device).contiguous(memory_format=torch.channels_last).requires_grad_()
    given = arguments(x, (4, 4), maps=1)
    y = filtered_epilogue(x, setup_filter([1.0, 1.0]).to(device), **given, impl="native")
    assert y.shape == (0, 3, 4, 4)
    y.sum().backward()
    assert x.grad is not None
    assert given["bias"].grad is not None
    assert float(given["bias"].grad.abs().sum()) == 0.0


@pytest.mark.parametrize("device", DEVICES)
def test_repeated_runs_are_equal_to_the_bit(device: str) -> None:
    f = setup_filter([1.0, 3.0, 3.0, 1.0]).to(device)
    x = image((2, 16, 65, 65), "channels_last", torch.float32, device).requires_grad_()
    runs = []
    for _ in range(2):
        given = arguments(x, (64, 64))
        y = filtered_epilogue(x, f, **given, padding=1, impl="native")
        runs.append([y, *torch.autograd.grad(y.square().sum(), [x, *given.values()])])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    f = setup_filter([1.0, 3.0, 3.0, 1.0])
    x = image((2, 16, 65, 65), "channels_last", torch.float32, "cpu")
    given = arguments(x, (64, 64), requires_grad=False)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(filtered_epilogue(x, f, **given, padding=1, impl="native"))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device: str) -> None:
    f = setup_filter([1.0, 3.0, 3.0, 1.0]).to(device)
    for layout in ("contiguous", "channels_last"):
        x = image((2, 3, 6, 5), layout, torch.float32, device).requires_grad_()
        given = arguments(x, (5, 4))
        op = torch.ops.deltafast.filtered_epilogue.default
        torch.library.opcheck(op, (x, f, 1, 1, 1, 1, 4.0, *given.values(), 0.2, 1.4, 2.0))
        torch.library.opcheck(op, (x, f, 1, 1, 1, 1, 4.0, None, None, None, None, None, 0.2, 1.4, None))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_breaks(device: str) -> None:
    f = setup_filter([1.0, 3.0, 3.0, 1.0]).to(device)
    x = image((2, 4, 7, 7), "channels_last", torch.float32, device).requires_grad_()
    given = arguments(x, (6, 6))

    def layer(x: torch.Tensor, **given: torch.Tensor) -> torch.Tensor:
        return filtered_epilogue(x * 2.0, f, **given, padding=1, clamp=1.0) + 1.0

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    expected, result = layer(x, **given), compiled(x, **given)
    torch.testing.assert_close(result, expected)
    wanted = [x, *given.values()]
    for ours, eager in zip(
        torch.autograd.grad(result.sum(), wanted), torch.autograd.grad(expected.sum(), wanted), strict=True
    ):
        torch.testing.assert_close(ours, eager)


def test_second_backward_is_refused_by_name() -> None:
    f = setup_filter([1.0, 1.0])
    x = image((1, 2, 4, 4), "channels_last", torch.float32, "cpu").requires_grad_()
    (grad,) = torch.autograd.grad(filtered_epilogue(x, f, impl="native").square().sum(), x, create_graph=True)
    with pytest.raises(NativeOpError, match="differentiated once only"):
        grad.sum().backward()
    reference = filtered_epilogue(x, f, impl="reference")
    (grad,) = torch.autograd.grad(reference.square().sum(), x, create_graph=True)
    grad.sum().backward()
    assert x.grad is not None


def test_half_precision_on_the_cpu_runs_the_reference_and_refuses_native() -> None:
    x, f = image((1, 2, 4, 4), "channels_last", torch.bfloat16, "cpu"), setup_filter([1.0, 1.0])
    assert torch.equal(filtered_epilogue(x, f), filtered_epilogue_reference(x, f))
    with pytest.raises(NativeOpError, match="no native CPU kernel for bfloat16"):
        filtered_epilogue(x, f, impl="native")


BAD = [
    ({"x": torch.zeros(2, 3, 4)}, r"x must be \[N, C, H, W\]"),
    ({"f": torch.ones(2, 2)}, r"f must be float32 \[k\]"),
    ({"f": torch.ones(17)}, "k = 1 to 16"),
    ({"f": torch.ones(4, dtype=torch.float64)}, "f must be float32"),
    ({"f": torch.ones(4, device="meta")}, "f is on meta, but x is on cpu"),
    ({"f": torch.ones(4, requires_grad=True)}, "must not require a gradient"),
    ({"padding": (-1, 0, 0, 0)}, "must not be negative"),
    ({"padding": (1, 2, 3)}, "filtered_epilogue: padding must be one number"),
    ({"filter_gain": math.nan}, "filter_gain must be finite"),
    ({"f": torch.ones(9)}, "larger than the padded image"),
    ({"demod": torch.zeros(2, 3)}, r"filtered_epilogue: demod must be \[N, C\] = \[1, 2\], got \[2, 3\]"),
    ({"noise": torch.zeros(1, 1, 8, 8)}, r"noise must be \[N or 1, 1, H, W\] = \[1, 1, 5, 5\]"),
    ({"clamp": -1.0}, "clamp must be positive"),
    ({"impl": "fast"}, "impl must be"),
]


@pytest.mark.parametrize(("wrong", "text"), BAD, ids=[text[:28] + str(i) for i, (_, text) in enumerate(BAD)])
def test_bad_input_is_named(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        filtered_epilogue(**{"x": torch.zeros(1, 2, 8, 8), "f": torch.ones(4), **wrong})
