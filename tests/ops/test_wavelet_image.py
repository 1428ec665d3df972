"""wavelet_image: correct in every layout and precision, and strict about its input."""

from __future__ import annotations

import pytest
import torch
from op_checks import LAYOUTS, check_against_float64, image

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import wavelet_image, wavelet_image_reference
from deltafast.ops._library import _C
from deltafast.ops.tolerance import allowed_error, max_error

NAME = "wavelet_image"
DTYPES = [torch.float32, torch.float64]
SHAPES = [(2, 5, 3, 4, 6), (1, 70, 3, 20, 33), (1, 64, 1, 2, 240), (3, 16, 5, 9, 1)]  # (N, C, K, H, W)
ISAS = list(_C.build_info()["cpu_instruction_sets"])


def case(shape, dtype=torch.float32, layout="channels_last", requires_grad=True):
    """The arguments of an image layer: [x, weight, bias, style]."""
    n, c, k, h, w = shape
    g = torch.Generator().manual_seed(7)
    made = [torch.randn(s, generator=g).to(dtype) for s in ((4 * k, c, 1, 1), (4 * k,), (n, c))]
    return [t.requires_grad_(requires_grad) for t in (image((n, c, h, w), layout, dtype, "cpu"), *made)]


def native(x, weight, bias=None, style=None):
    return wavelet_image(x, weight, bias, style=style, impl="native")


def reference(x, weight, bias=None, style=None):
    return wavelet_image_reference(x, weight, bias, style=style)


@pytest.fixture
def instruction_set():
    """Choose the kernels of an instruction set; the best one is chosen again afterwards."""
    yield _C.use_instruction_set
    _C.use_instruction_set(ISAS[0])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_result_and_all_gradients_match_float64(dtype, shape, layout):
    check_against_float64(NAME, native, reference, *case(shape, dtype, layout))


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set_gives_the_same(isa, instruction_set):
    instruction_set(isa)
    for shape in SHAPES:
        check_against_float64(NAME, native, reference, *case(shape))


def test_bias_and_style_can_be_left_out():
    x, weight, bias, style = case((2, 12, 3, 6, 6))
    check_against_float64(NAME, native, reference, x, weight)
    check_against_float64(NAME, native, reference, x, weight, bias)
    check_against_float64(NAME, native, reference, x, weight, None, style)


def test_an_empty_batch():
    x, weight, bias, style = case((0, 8, 3, 4, 4))
    y = native(x, weight, bias, style)
    assert y.shape == (0, 3, 8, 8)
    assert torch.autograd.grad(y.sum(), x)[0].shape == x.shape


def result_and_gradients(op, given):
    y = op(*given)
    return [y, *torch.autograd.grad(y.square().sum(), given)]  # y, and the gradients of x, weight, bias and style


def test_repeatable_to_the_bit_by_any_number_of_threads():
    given = case((1, 40, 3, 130, 36))
    exact = result_and_gradients(reference, [t.detach().double().requires_grad_() for t in given])
    plain, before, first = result_and_gradients(reference, given), torch.get_num_threads(), None
    try:
        for threads in (1, 1, 2, 4):
            torch.set_num_threads(threads)
            results = result_and_gradients(native, given)
            first = first or results
            for own in (0, 1, 4):  # of our kernels; those of weight and bias are torch's own sums
                assert torch.equal(results[own], first[own])
            for summed in (2, 3):
                allowed = allowed_error(NAME, "backward", plain[summed], exact[summed])
                assert max_error(results[summed], exact[summed]) <= allowed
    finally:
        torch.set_num_threads(before)


def test_opcheck():
    given = case((2, 8, 3, 4, 6))
    torch.library.opcheck(torch.ops.deltafast.wavelet_image.default, tuple(given))
    torch.library.opcheck(torch.ops.deltafast.wavelet_image.default, (*given[:2], None, None))


def test_compiles_without_graph_breaks():
    given = case((2, 8, 3, 4, 6))

    def layer(x, weight, bias, style):
        return wavelet_image(x * 2.0, weight, bias, style=style) + 1.0

    expected, result = layer(*given), torch.compile(layer, fullgraph=True, backend="aot_eager")(*given)
    torch.testing.assert_close(result, expected)
    for ours, eager in zip(
        torch.autograd.grad(result.sum(), given), torch.autograd.grad(expected.sum(), given), strict=True
    ):
        torch.testing.assert_close(ours, eager)


def test_second_backward_is_refused_by_name():
    x, *rest = case((1, 2, 3, 4, 4))
    (grad,) = torch.autograd.grad(native(x, *rest).square().sum(), x, create_graph=True)
    with pytest.raises(NativeOpError, match="wavelet_image: the native kernel can be differentiated once only"):
        grad.sum().backward()


def test_half_precision_gives_float32_images_and_refuses_native():
    given = case((1, 8, 3, 4, 4), torch.bfloat16, requires_grad=False)
    assert wavelet_image(given[0], given[1]).dtype == torch.float32
    with pytest.raises(NativeOpError, match="no native CPU kernel for bfloat16"):
        native(*given)


BAD = [
    ({"x": torch.zeros(2, 3, 4)}, r"x must be \[N, C, H, W\], got 3 dimensions"),
    ({"weight": torch.zeros(12, 4)}, r"weight must be \[4 K, C, 1, 1\]"),
    ({"weight": torch.zeros(10, 4, 1, 1)}, r"weight must be \[4 K, C, 1, 1\], got \[10, 4, 1, 1\]"),
    ({"bias": torch.zeros(3)}, r"bias must be \[4 K\] = \[12\], got \[3\]"),
    ({"style": torch.zeros(4)}, r"style must be \[N, C\] = \[1, 4\]"),
    ({"impl": "fast"}, "impl must be 'auto', 'native' or 'reference'"),
]


@pytest.mark.parametrize(("wrong", "text"), BAD, ids=[text[:32] for _, text in BAD])
def test_bad_input_is_named(wrong, text):
    with pytest.raises(InvalidInputError, match=text):
        wavelet_image(**{"x": torch.zeros(1, 4, 4, 4), "weight": torch.zeros(12, 4, 1, 1), **wrong})
