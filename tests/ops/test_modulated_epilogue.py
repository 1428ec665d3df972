"""modulated_epilogue: correct in every layout, precision and combination of arguments, and strict about its input."""

from __future__ import annotations

import math

import pytest
import torch
from op_checks import DEVICES, LAYOUTS, NATIVE, check_against_float64, image

from deltafast.errors import DeltafastError, InvalidInputError, NativeOpError
from deltafast.ops import _library, modulated_epilogue, modulated_epilogue_reference

SHAPES = [(2, 3, 5, 7), (1, 70, 4, 4), (3, 8, 16, 16), (2, 1, 1, 1), (1, 3, 150, 113)]
NAME = "modulated_epilogue"


def arguments(x: torch.Tensor, maps: int | None = None, requires_grad: bool = True) -> dict[str, torch.Tensor]:
    """All tensor arguments beside x; the small ones in the accumulation type."""
    n, c, h, w = x.shape
    generator = torch.Generator().manual_seed(7)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    made = {
        "demod": torch.rand(n, c, generator=generator) + 0.5,
        "noise": torch.randn(n if maps is None else maps, 1, h, w, generator=generator),
        "noise_strength": torch.tensor(0.3),
        "bias": torch.randn(c, generator=generator),
        "next_style": torch.randn(n, c, generator=generator),
    }
    return {k: v.to(device=x.device, dtype=dtype).requires_grad_(requires_grad) for k, v in made.items()}


def native(*args: object, **options: object) -> torch.Tensor:
    return modulated_epilogue(*args, **options, impl="native")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
def test_result_and_all_gradients_match_float64(
    device: str, dtype: torch.dtype, shape: tuple[int, ...], layout: str
) -> None:
    x = image(shape, layout, dtype, device).requires_grad_()
    check_against_float64(NAME, native, modulated_epilogue_reference, x, **arguments(x), clamp=1.5)


@pytest.mark.parametrize(("device", "dtype"), NATIVE, ids=str)
@pytest.mark.parametrize("left_out", ["demod", "noise", "noise_strength", "bias", "next_style"])
def test_every_argument_can_be_left_out(device: str, dtype: torch.dtype, left_out: str) -> None:
    for layout in ("contiguous", "channels_last"):
        x = image((2, 12, 6, 5), layout, dtype, device).requires_grad_()
        given = arguments(x)
        if left_out == "noise":
            del given["noise_strength"]
        del given[left_out]
        check_against_float64(NAME, native, modulated_epilogue_reference, x, **given, negative_slope=0.1, gain=1.0)


@pytest.mark.parametrize("device", DEVICES)
def test_one_noise_map_serves_the_whole_batch(device: str) -> None:
    for layout in ("contiguous", "channels_last"):
        x = image((3, 5, 6, 7), layout, torch.float32, device).requires_grad_()
        check_against_float64(NAME, native, modulated_epilogue_reference, x, **arguments(x, maps=1))


@pytest.mark.parametrize("name", _library._C.build_info()["cpu_instruction_sets"])
def test_every_instruction_set_gives_the_same_result(name: str) -> None:
    in_use = _library._C.build_info()["cpu_instruction_set"]
    try:
        _library._C.use_instruction_set(name)
        for layout in ("contiguous", "channels_last"):
            x = image((2, 67, 9, 21), layout, torch.float32, "cpu").requires_grad_()
            check_against_float64(NAME, native, modulated_epilogue_reference, x, **arguments(x), clamp=1.0)
    finally:
        _library._C.use_instruction_set(in_use)


@pytest.mark.parametrize("device", DEVICES)
def test_result_keeps_the_memory_format(device: str) -> None:
    for layout, expected in [("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)]:
        y = native(image((2, 4, 6, 6), layout, torch.float32, device))
        assert y.is_contiguous(memory_format=expected)
    sliced = native(image((2, 4, 6, 6), "sliced_channels_last", torch.float32, device))
    assert sliced.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4)], ids=str)
def test_empty_input_gives_empty_output_and_zero_gradients(device: str, shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape, device=device, requires_grad=True)
    given = arguments(x)
    y = native(x, **given)
    assert y.shape == x.shape
    y.sum().backward()
    assert given["bias"].grad is not None
    assert float(given["bias"].grad.abs().sum()) == 0.0


@pytest.mark.parametrize("device", DEVICES)
def test_repeated_runs_are_equal_to_the_bit(device: str) -> None:
    for layout in ("contiguous", "channels_last"):
        x = image((2, 6, 140, 130), layout, torch.float32, device).requires_grad_()
        runs = []
        for _ in range(3):
            given = arguments(x)
            y = native(x, **given)
            runs.append([y, *torch.autograd.grad(y.square().sum(), [x, *given.values()])])
        for later in runs[1:]:
            assert all(torch.equal(a, b) for a, b in zip(runs[0], later, strict=True))


def test_gradients_do_not_depend_on_the_number_of_threads() -> None:
    threads = torch.get_num_threads()
    x = image((2, 6, 140, 130), "channels_last", torch.float32, "cpu").requires_grad_()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            given = arguments(x)
            y = native(x, **given)
            results.append([y, *torch.autograd.grad(y.square().sum(), [x, *given.values()])])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_nan_and_infinity_behave_as_in_torch(device: str) -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf, 0.0], device=device).reshape(1, 1, 2, 2)
    for clamp in (None, 2.0):
        expected = modulated_epilogue_reference(x, clamp=clamp)
        assert torch.equal(native(x, clamp=clamp).nan_to_num(nan=123.0), expected.nan_to_num(nan=123.0))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_opcheck(device: str, layout: str) -> None:
    x = image((2, 3, 5, 4), layout, torch.float32, device).requires_grad_()
    given = arguments(x)
    torch.library.opcheck(torch.ops.deltafast.modulated_epilogue.default, (x, *given.values(), 0.2, 1.4, 2.0))
    torch.library.opcheck(
        torch.ops.deltafast.modulated_epilogue.default, (x, None, None, None, None, None, 0.2, 1.4, None)
    )


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_breaks(device: str) -> None:
    x = image((2, 4, 6, 6), "channels_last", torch.float32, device).requires_grad_()
    given = arguments(x)

    def layer(x: torch.Tensor, **given: torch.Tensor) -> torch.Tensor:
        return modulated_epilogue(x * 2.0, **given, clamp=1.0) + 1.0

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    expected, result = layer(x, **given), compiled(x, **given)
    torch.testing.assert_close(result, expected)
    wanted = [x, *given.values()]
    for ours, eager in zip(
        torch.autograd.grad(result.sum(), wanted), torch.autograd.grad(expected.sum(), wanted), strict=True
    ):
        torch.testing.assert_close(ours, eager)


def test_second_backward_is_refused_by_name() -> None:
    x = image((1, 2, 4, 4), "contiguous", torch.float32, "cpu").requires_grad_()
    (grad,) = torch.autograd.grad(native(x).square().sum(), x, create_graph=True)
    with pytest.raises(NativeOpError, match="differentiated once only"):
        grad.sum().backward()
    (grad,) = torch.autograd.grad(modulated_epilogue(x, impl="reference").square().sum(), x, create_graph=True)
    grad.sum().backward()
    assert x.grad is not None


def test_half_precision_on_the_cpu_runs_the_reference_and_refuses_native() -> None:
    x = image((1, 2, 4, 4), "contiguous", torch.bfloat16, "cpu")
    assert torch.equal(modulated_epilogue(x), modulated_epilogue_reference(x))
    with pytest.raises(NativeOpError, match="no native CPU kernel for bfloat16, only for float32, float64"):
        native(x)


BAD = [
    ({"x": torch.zeros(2, 3, 4)}, r"x must be \[N, C, H, W\], got 3 dimensions"),
    ({"x": torch.zeros(1, 2, 4, 4, dtype=torch.int32)}, "x must be float32"),
    ({"demod": torch.zeros(2, 3)}, r"demod must be \[N, C\] = \[1, 2\], got \[2, 3\]"),
    ({"demod": torch.zeros(1, 2, device="meta")}, "demod is on meta, but x is on cpu"),
    ({"noise": torch.zeros(1, 1, 4, 5)}, r"noise must be \[N or 1, 1, H, W\]"),
    ({"noise": torch.zeros(2, 1, 4, 4)}, r"noise must be \[N or 1, 1, H, W\]"),
    ({"noise_strength": torch.zeros(2)}, r"noise_strength must be \[\]"),
    ({"noise_strength": 0.5}, "noise_strength must be a tensor"),
    ({"bias": torch.zeros(2, dtype=torch.int64)}, "bias must be of a floating-point dtype"),
    ({"bias": torch.zeros(3)}, r"bias must be \[C\] = \[2\], got \[3\]"),
    ({"next_style": torch.zeros(2)}, r"next_style must be \[N, C\]"),
    ({"negative_slope": 1.5}, "negative_slope must be in 0..1"),
    ({"gain": math.nan}, "gain must be finite"),
    ({"clamp": 0.0}, "clamp must be positive"),
    ({"impl": "fast"}, "impl must be 'auto', 'native' or 'reference'"),
]


@pytest.mark.parametrize(("wrong", "text"), BAD, ids=[text[:32] for _, text in BAD])
def test_bad_input_is_named(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text) as caught:
        modulated_epilogue(**{"x": torch.zeros(1, 2, 4, 4), **wrong})
    assert isinstance(caught.value, DeltafastError)
