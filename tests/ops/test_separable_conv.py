"""separable_conv: correct in every layout, precision and combination of arguments, and strict about its input."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from op_checks import LAYOUTS, check_against_float64, image

from deltafast.errors import DeltafastError, InvalidInputError, NativeOpError
from deltafast.ops import inverse_haar, separable_conv, separable_conv_reference
from deltafast.ops._library import _C
from deltafast.ops.tolerance import allowed_error, max_error
from deltafast.ops.wavelet import inverse_haar_transposed

NAME = "separable_conv"
DTYPES = [torch.float32, torch.float64]
# (N, C, O, H, W): one pixel group and many, whole vectors and remainders, several bands of rows
SHAPES = [(2, 3, 5, 6, 8), (1, 37, 70, 10, 18), (1, 1, 1, 2, 2), (3, 16, 33, 4, 4), (1, 64, 32, 66, 22)]
ISAS = list(_C.build_info()["cpu_instruction_sets"])


def case(
    shape: tuple[int, ...],
    wavelet: bool,
    dtype: torch.dtype = torch.float32,
    layout: str = "channels_last",
    requires_grad: bool = True,
    maps: int = 1,
) -> tuple[list[torch.Tensor], dict[str, object]]:
    """All arguments of a layer: ([x, depthwise, pointwise, noise, bias], the named ones)."""
    n, c, o, h, w = shape
    factor = 2 if wavelet else 1
    x = image((n, c * factor**2, h // factor, w // factor), layout, dtype, "cpu")
    g = torch.Generator().manual_seed(7)
    made = [
        torch.randn(c, 1, 3, 3, generator=g) / 3,
        torch.randn(o, c, 1, 1, generator=g) / math.sqrt(c),
        torch.randn(maps, 1, h, w, generator=g),
        torch.randn(o, generator=g),
        torch.randn(n, c * factor**2, generator=g),
    ]
    tensors = [x, *(t.to(dtype) for t in made)]
    *tensors, style = [t.requires_grad_(requires_grad) for t in tensors]
    return tensors, {"style": style, "wavelet": wavelet}


def native(*args: object, **options: object) -> torch.Tensor:
    return separable_conv(*args, **options, impl="native")


def run_at(threads: int, *args: object, **options: object) -> list[torch.Tensor]:
    """The result and the gradients of all arguments, computed by this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        y = native(*args, **options)
        return [y, *torch.autograd.grad(y, (*args, options["style"]), torch.ones_like(y))]
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def instruction_set():
    """Choose the kernels of an instruction set; the best one is chosen again afterwards."""
    yield _C.use_instruction_set
    _C.use_instruction_set(ISAS[0])


@pytest.mark.parametrize("wavelet", [False, True], ids=["plain", "wavelet"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_result_and_all_gradients_match_float64(dtype, shape, layout, wavelet):
    given, named = case(shape, wavelet, dtype, layout)
    check_against_float64(NAME, native, separable_conv_reference, *given, **named, gain=1.3)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("wavelet", [False, True], ids=["plain", "wavelet"])
def test_every_instruction_set_gives_the_same(isa, wavelet, instruction_set):
    instruction_set(isa)
    for shape in SHAPES:
        given, named = case(shape, wavelet)
        check_against_float64(NAME, native, separable_conv_reference, *given, **named)


@pytest.mark.parametrize("left_out", ["noise", "bias", "style"])
def test_every_argument_can_be_left_out(left_out):
    for wavelet in (False, True):
        given, named = case((2, 12, 9, 6, 6), wavelet, maps=2)
        if left_out == "style":
            named["style"] = None
        else:
            given[3 if left_out == "noise" else 4] = None
        check_against_float64(NAME, native, separable_conv_reference, *given, **named, negative_slope=0.1)


@pytest.mark.parametrize("height", [1, 2, 3, 5, 15, 33])
def test_sizes_that_no_wavelet_makes(height):
    given, named = case((1, 20, 17, height, 5), wavelet=False)
    check_against_float64(NAME, native, separable_conv_reference, *given, **named)


def test_only_the_gradient_that_is_needed_is_made():
    given, named = case((1, 4, 4, 4, 4), wavelet=True, requires_grad=False)
    for position in range(5):
        leaves = [t.detach().clone().requires_grad_(i == position) for i, t in enumerate(given)]
        native(*leaves, **named).sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == [i == position for i in range(5)]


def test_the_wavelet_transform_is_what_it_says():
    x = torch.randn(2, 8, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, vertical, horizontal, diagonal = x.chunk(4, 1)
    y = inverse_haar(x)
    for i in (0, 1):
        for j in (0, 1):
            s, t = (-1) ** i, (-1) ** j
            assert torch.allclose(y[:, :, i::2, j::2], low + s * vertical + t * horizontal + s * t * diagonal)
    assert torch.allclose(inverse_haar_transposed(y), 4 * x)


@pytest.mark.parametrize("wavelet", [False, True], ids=["plain", "wavelet"])
def test_an_empty_batch(wavelet):
    given, named = case((0, 3, 5, 4, 4), wavelet)
    y = native(*given, **named)
    assert y.shape == (0, 5, 4, 4)
    wanted = (*given, named["style"])
    gradients = torch.autograd.grad(y.sum(), wanted)
    assert [g.shape for g in gradients] == [t.shape for t in wanted]
    assert not any(g.any() for g in gradients)


@pytest.mark.parametrize("wavelet", [False, True], ids=["plain", "wavelet"])
def test_repeatable_to_the_bit_by_any_number_of_threads(wavelet):
    # one sample, so that threads meet within it, and tiles that end anywhere in a row
    given, named = case((1, 40, 24, 130, 36), wavelet)
    results = [run_at(threads, *given, **named) for threads in (1, 1, 2, 3, 4)]
    for first, *others in zip(*results, strict=True):
        assert all(torch.equal(first, other) for other in others)


def test_nan_stays_where_the_convolution_takes_it():
    given, named = case((1, 5, 6, 8, 8), wavelet=False, requires_grad=False)
    given[0][0, 2, 0, 0] = math.nan
    y = native(*given, **named)
    assert y[0, :, :2, :2].isnan().all()
    assert not y[0, :, 2:].isnan().any()
    assert not y[0, :, :, 2:].isnan().any()


@pytest.mark.parametrize("wavelet", [False, True], ids=["plain", "wavelet"])
def test_gradients_of_weights_of_more_bands_than_they_are_summed_up_in(wavelet):
    given, named = case((9, 8, 6, 66, 4), wavelet, maps=9)  # 45 bands
    check_against_float64(NAME, native, separable_conv_reference, *given, **named)


@pytest.mark.parametrize("wavelet", [False, True], ids=["plain", "wavelet"])
def test_opcheck(wavelet):
    given, named = case((2, 8, 5, 4, 6), wavelet)
    operator = torch.ops.deltafast.separable_conv.default
    torch.library.opcheck(operator, (*given, named["style"], wavelet, 0.2, 1.4))
    torch.library.opcheck(operator, (*given[:3], None, None, None, wavelet, 0.2, 1.4))
    of_weights = torch.ops.deltafast.separable_conv_backward_weights.default
    (x, depthwise, pointwise, *_), named = case((2, 8, 5, 4, 6), wavelet, requires_grad=False)
    y = native(x, depthwise, pointwise, **named)
    for style in (named["style"], None):
        torch.library.opcheck(of_weights, (torch.ones_like(y), x, y, depthwise, pointwise, style, wavelet, 0.2, 1.4))


def test_compiles_without_graph_breaks():
    given, named = case((2, 8, 5, 4, 6), wavelet=True)

    def layer(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        return separable_conv(x * 2.0, *rest, **named) + 1.0

    expected, result = layer(*given), torch.compile(layer, fullgraph=True, backend="aot_eager")(*given)
    torch.testing.assert_close(result, expected)
    wanted = [*given, named["style"]]
    for ours, eager in zip(
        torch.autograd.grad(result.sum(), wanted), torch.autograd.grad(expected.sum(), wanted), strict=True
    ):
        torch.testing.assert_close(ours, eager)


def test_second_backward_is_refused_by_name():
    given, named = case((1, 2, 3, 4, 4), wavelet=False)
    (grad,) = torch.autograd.grad(native(*given, **named).square().sum(), given[0], create_graph=True)
    with pytest.raises(NativeOpError, match="separable_conv: the native kernel can be differentiated once only"):
        grad.sum().backward()
    y = separable_conv(*given, **named, impl="reference")
    (grad,) = torch.autograd.grad(y.square().sum(), given[0], create_graph=True)
    grad.sum().backward()


def test_half_precision_on_the_cpu_runs_the_reference_and_refuses_native():
    given, named = case((1, 2, 3, 4, 4), wavelet=True, dtype=torch.bfloat16, requires_grad=False)
    assert torch.equal(separable_conv(*given, **named), separable_conv_reference(*given, **named))
    with pytest.raises(NativeOpError, match="no native CPU kernel for bfloat16, only for float32, float64"):
        native(*given, **named)


def test_the_reference_is_the_plain_convolution():
    (x, depthwise, pointwise, noise, bias), named = case((2, 6, 4, 6, 8), wavelet=True, requires_grad=False)
    z = inverse_haar(x * named["style"][:, :, None, None])
    u = F.conv2d(F.conv2d(z, depthwise, padding=1, groups=6), pointwise) + noise + bias[:, None, None]
    expected = F.leaky_relu(u, 0.2)
    result = separable_conv(x, depthwise, pointwise, noise, bias, **named)
    assert max_error(result, expected) <= allowed_error(NAME, "forward", expected, expected)


X, DEPTHWISE, POINTWISE = torch.zeros(1, 4, 4, 4), torch.zeros(4, 1, 3, 3), torch.zeros(2, 4, 1, 1)
BAD = [
    ({"x": torch.zeros(2, 3, 4)}, r"x must be \[N, C, H, W\], got 3 dimensions"),
    ({"x": torch.zeros(1, 4, 4, 4, dtype=torch.int32)}, "x must be float32"),
    ({"x": torch.zeros(1, 6, 4, 4), "wavelet": True}, "with wavelet, x must have 4 C channels, got 6"),
    ({"depthwise": torch.zeros(4, 3, 3)}, r"depthwise must be \[C, 1, 3, 3\] = \[4, 1, 3, 3\], got \[4, 3, 3\]"),
    ({"wavelet": True}, r"depthwise must be \[C, 1, 3, 3\] = \[1, 1, 3, 3\]"),
    ({"pointwise": torch.zeros(2, 3, 1, 1)}, r"pointwise must be \[O, C, 1, 1\] = \[2, 4, 1, 1\]"),
    ({"pointwise": torch.zeros(2, 4, 1, 1, device="meta")}, "pointwise is on meta, but x is on cpu"),
    ({"noise": torch.zeros(1, 1, 4, 5)}, r"noise must be \[N or 1, 1, H, W\]"),
    ({"bias": torch.zeros(4)}, r"bias must be \[O\] = \[2\], got \[4\]"),
    ({"style": torch.zeros(1, 2)}, r"style must be \[N, C\] = \[1, 4\]"),
    ({"style": 1.0}, "style must be a tensor"),
    ({"negative_slope": -0.1}, "negative_slope must be in 0..1"),
    ({"gain": 0.0}, "gain must be positive and finite"),
    ({"impl": "fast"}, "impl must be 'auto', 'native' or 'reference'"),
]


@pytest.mark.parametrize(("wrong", "text"), BAD, ids=[text[:32] for _, text in BAD])
def test_bad_input_is_named(wrong, text):
    with pytest.raises(InvalidInputError, match=text) as caught:
        separable_conv(**{"x": X, "depthwise": DEPTHWISE, "pointwise": POINTWISE, **wrong})
    assert isinstance(caught.value, DeltafastError)
