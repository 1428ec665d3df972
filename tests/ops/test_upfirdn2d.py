"""upfirdn2d: correct for every factor, filter, padding and layout, and strict about its input."""

from __future__ import annotations

import math

import pytest
import torch
from op_checks import DEVICES, LAYOUTS, NATIVE, check_against_float64, image

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import _library, setup_filter, upfirdn2d, upfirdn2d_reference

NAME = "upfirdn2d"
FILTERS = {
    "separable4": [1.0, 3.0, 3.0, 1.0],
    "asymmetric7": [1.0, -2.0, 3.0, 4.0, -5.0, 6.0, 7.0],
    "full2x3": [[1.0, 2.0, -3.0], [4.0, 5.0, 6.0]],
}
FACTORS = [(1, 1), (2, 1), (1, 2), (3, 1), (1, 3), (2, 3), (3, 2)]
PADDINGS = [(2, 1, 2, 1), (4, 3, 5, 7), (-1, 3, 6, -1)]


def checked(x: torch.Tensor, f: torch.Tensor, **options: object) -> None:
    """Compare with the reference in float64; the filter itself is float32 in both."""

    def native(x: torch.Tensor) -> torch.Tensor:
        return upfirdn2d(x, f, **options, impl="native")

    def reference(x: torch.Tensor) -> torch.Tensor:
        return upfirdn2d_reference(x, f, **options)

    check_against_float64(NAME, native, reference, x)


@pytest.mark.parametrize(("up", "down"), FACTORS)
@pytest.mark.parametrize("taps", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
def test_result_and_gradient_match_float64(
    device: str, dtype: torch.dtype, taps: list[float], up: int, down: int
) -> None:
    f = setup_filter(taps).to(device)
    for layout in LAYOUTS:
        for padding in PADDINGS:
            for flip_filter in (False, True):
                x = image((2, 3, 9, 11), layout, dtype, device).requires_grad_()
                checked(x, f, up=up, down=down, padding=padding, flip_filter=flip_filter, gain=1.7)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 64, 4, 4), (2, 32, 33, 17), (1, 3, 64, 200)], ids=str)
def test_generator_resampling_in_all_sizes(device: str, shape: tuple[int, ...]) -> None:
    f = setup_filter([1.0, 3.0, 3.0, 1.0]).to(device)
    for layout in ("contiguous", "channels_last"):
        x = image(shape, layout, torch.float32, device).requires_grad_()
        checked(x, f, up=2, padding=(2, 1, 2, 1), gain=4.0)
        checked(x, f, down=2, padding=(2, 1, 2, 1))
        checked(x, f, padding=(2, 1, 2, 1), gain=4.0)


@pytest.mark.parametrize("name", _library._C.build_info()["cpu_instruction_sets"])
def test_every_instruction_set_gives_the_same_result(name: str) -> None:
    in_use = _library._C.build_info()["cpu_instruction_set"]
    f = setup_filter([1.0, 3.0, 3.0, 1.0])
    try:
        _library._C.use_instruction_set(name)
        for layout in ("contiguous", "channels_last"):
            for up, down in FACTORS:
                x = image((1, 19, 23, 37), layout, torch.float32, "cpu").requires_grad_()
                checked(x, f, up=up, down=down, padding=(2, 1, 2, 1))
    finally:
        _library._C.use_instruction_set(in_use)


def test_constant_image_keeps_its_value_inside() -> None:
    y = upfirdn2d(torch.ones(1, 1, 8, 8), setup_filter([1.0, 3.0, 3.0, 1.0]), up=2, padding=(2, 1, 2, 1), gain=4.0)
    assert y.shape == (1, 1, 16, 16)
    torch.testing.assert_close(y[:, :, 2:-2, 2:-2], torch.ones(1, 1, 12, 12))


@pytest.mark.parametrize("device", DEVICES)
def test_result_keeps_the_memory_format(device: str) -> None:
    f = setup_filter([1.0, 1.0]).to(device)
    for layout, expected in [("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)]:
        y = upfirdn2d(image((2, 4, 6, 6), layout, torch.float32, device), f, up=2, padding=1, impl="native")
        assert y.is_contiguous(memory_format=expected)


@pytest.mark.parametrize("device", DEVICES)
def test_empty_batch(device: str) -> None:
    x = torch.zeros(0, 3, 4, 4, device=device, requires_grad=True)
    y = upfirdn2d(x, setup_filter([1.0, 1.0]).to(device), up=2, padding=1, impl="native")
    assert y.shape == (0, 3, 9, 9)
    y.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("device", DEVICES)
def test_repeated_runs_are_equal_to_the_bit(device: str) -> None:
    x = image((2, 6, 70, 50), "channels_last", torch.float32, device)
    f = setup_filter([1.0, 3.0, 3.0, 1.0]).to(device)
    first, second = (upfirdn2d(x, f, up=2, padding=(2, 1, 2, 1), impl="native") for _ in range(2))
    assert torch.equal(first, second)


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    x, f = image((2, 6, 70, 50), "channels_last", torch.float32, "cpu"), setup_filter([1.0, 3.0, 3.0, 1.0])
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(upfirdn2d(x, f, up=2, padding=(2, 1, 2, 1), impl="native"))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_second_derivative_matches_the_reference() -> None:
    f = setup_filter([1.0, 2.0, 3.0, 1.0])
    results = []
    for impl in ("native", "reference"):
        x = image((1, 2, 5, 6), "contiguous", torch.float64, "cpu").requires_grad_()
        y = upfirdn2d(x, f, up=2, padding=(2, 1, 2, 1), impl=impl)
        (grad,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(grad.pow(2).sum(), x)
        results.append(second)
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_opcheck(device: str, layout: str) -> None:
    x = image((2, 3, 5, 4), layout, torch.float32, device).requires_grad_()
    f = setup_filter([1.0, 3.0, 3.0, 1.0]).to(device)
    torch.library.opcheck(torch.ops.deltafast.upfirdn2d.default, (x, f, 2, 1, 2, 1, 2, 1, False, 4.0))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_breaks_for_any_size(device: str) -> None:
    f = setup_filter([1.0, 3.0, 3.0, 1.0]).to(device)

    def layer(x: torch.Tensor) -> torch.Tensor:
        return upfirdn2d(x * 2.0, f, up=2, padding=(2, 1, 2, 1)) + 1.0

    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for size in (4, 6, 9):
        x = image((1, 2, size, size + 1), "contiguous", torch.float32, device).requires_grad_()
        result, expected = compiled(x), layer(x)
        torch.testing.assert_close(result, expected)
        ours, eager = (torch.autograd.grad(y.square().sum(), x)[0] for y in (result, expected))
        torch.testing.assert_close(ours, eager)


def test_half_precision_on_the_cpu_runs_the_reference_and_refuses_native() -> None:
    x, f = image((1, 2, 8, 8), "contiguous", torch.float16, "cpu"), setup_filter([1.0, 1.0])
    assert torch.equal(upfirdn2d(x, f), upfirdn2d_reference(x, f))
    with pytest.raises(NativeOpError, match="no native CPU kernel for float16"):
        upfirdn2d(x, f, impl="native")


F4 = torch.ones(4)
BAD = [
    ({"x": torch.zeros(3, 4, 4)}, "got 3 dimensions"),
    ({"f": torch.ones(2, 2, 2)}, "f must be float32"),
    ({"f": torch.ones(4, dtype=torch.float64)}, "f must be float32"),
    ({"f": torch.ones(0)}, "f must be float32"),
    ({"f": [1.0, 1.0]}, "f must be float32"),
    ({"f": torch.ones(4, device="meta")}, "f is on meta, but x is on cpu"),
    ({"f": torch.ones(4, requires_grad=True)}, "must not require a gradient"),
    ({"up": 0}, "at least 1"),
    ({"down": 1.5}, "whole numbers"),
    ({"padding": (1, 2, 3)}, "padding must be one number"),
    ({"padding": -5}, "larger than the up-sampled and padded image"),
    ({"gain": math.inf}, "gain must be finite"),
    ({"impl": "fast"}, "impl must be"),
]


@pytest.mark.parametrize(("wrong", "text"), BAD, ids=[text[:28] + str(i) for i, (_, text) in enumerate(BAD)])
def test_bad_input_is_named(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        upfirdn2d(**{"x": torch.zeros(1, 2, 8, 8), "f": F4, **wrong})


def test_setup_filter_normalises_and_refuses_what_it_cannot_use() -> None:
    assert setup_filter([1, 3, 3, 1]).tolist() == [0.125, 0.375, 0.375, 0.125]
    assert setup_filter([[1, 2], [3, 4]], normalize=False).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    for taps, text in [([], "not empty"), ([1.0, -1.0], "sum to 0"), ([math.nan], "finite"), ("ab", "numbers")]:
        with pytest.raises(InvalidInputError, match=text):
            setup_filter(taps)
