"""wavelet_block: the same as its layers one by one, in every layout and precision, and strict about its input."""

from __future__ import annotations

import math

import pytest
import torch
from op_checks import LAYOUTS, check_against_float64, image

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import ImageLayer, SeparableLayer, wavelet_block, wavelet_block_reference
from deltafast.ops._library import _C
from deltafast.ops.tolerance import allowed_error, max_error

NAME = "wavelet_block"
# (N, C, O, O', colours, H, W) of x; 0 colours: no image
SHAPES = [(2, 3, 5, 7, 3, 2, 3), (1, 20, 33, 18, 0, 5, 9), (1, 8, 16, 40, 3, 33, 20), (3, 1, 1, 1, 1, 1, 1)]
ISAS = list(_C.build_info()["cpu_instruction_sets"])


def case(shape, dtype=torch.float32, layout="channels_last", requires_grad=False):
    """The arguments of a block, one after another: x, five tensors a layer, three of the image layer or none."""
    n, c, o, o2, k, h, w = shape
    g = torch.Generator().manual_seed(7)

    def layer(inputs, outputs, width):
        return [
            torch.randn(inputs, 1, 3, 3, generator=g) / 3,
            torch.randn(outputs, inputs, 1, 1, generator=g) / math.sqrt(inputs),
            torch.randn(1, 1, 2 * h, 2 * w, generator=g),
            torch.randn(outputs, generator=g),
            torch.randn(n, width, generator=g),
        ]

    made = [*layer(c, o, 4 * c), *layer(o, o2, o)]
    if k:
        made += [torch.randn(4 * k, o2, 1, 1, generator=g), torch.randn(4 * k, generator=g)]
        made += [torch.randn(n, o2, generator=g)]
    x = image((n, 4 * c, h, w), layout, dtype, "cpu")
    return [t.requires_grad_(requires_grad) for t in (x, *(t.to(dtype) for t in made))]


def arranged(x, *tensors):
    """The arguments as `wavelet_block` takes them."""
    last = ImageLayer(*tensors[10:]) if len(tensors) > 10 else None
    return x, SeparableLayer(*tensors[:5]), SeparableLayer(*tensors[5:10]), last


def native(*tensors):
    return wavelet_block(*arranged(*tensors), gain=1.3, impl="native")


def reference(*tensors):
    return wavelet_block_reference(*arranged(*tensors), gain=1.3)


@pytest.fixture
def instruction_set():
    """Choose the kernels of an instruction set; the best one is chosen again afterwards."""
    yield _C.use_instruction_set
    _C.use_instruction_set(ISAS[0])


@pytest.mark.parametrize("gradients", [False, True], ids=["one kernel", "layer by layer"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_result_and_all_gradients_match_float64(dtype, layout, gradients):
    for shape in SHAPES:
        given = case(shape, dtype, layout, requires_grad=gradients)
        with torch.set_grad_enabled(gradients):
            if gradients:
                check_against_float64(NAME, native, reference, *given)
            else:
                check_values(*given)


def check_values(*given):
    """Hold the result against the reference in float64."""
    exact, plain, ours = reference(*(t.double() for t in given)), reference(*given), native(*given)
    assert ours.shape == exact.shape
    assert ours.dtype == plain.dtype
    assert max_error(ours, exact) <= allowed_error(NAME, "forward", plain, exact)


@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set_gives_the_same(isa, instruction_set):
    instruction_set(isa)
    for shape in SHAPES:
        check_values(*case(shape))


def stored(*tensors):
    """The block by the kernels that keep the layers' results and make the block's gradients at once."""
    given = [*tensors, *[None] * (14 - len(tensors))]
    return torch.ops.deltafast.wavelet_block_stored(*given, 0.2, 1.3)[0]


def styled(shape, dtype=torch.float32, layout="channels_last"):
    """The arguments of a block, gradients wanted for x and the styles alone."""
    tensors = case(shape, dtype, layout)
    for at in (0, 5, 10, 13):
        if at < len(tensors):
            tensors[at].requires_grad_()
    return tensors


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_gradient_kernel_of_a_block_matches_float64(dtype, isa, instruction_set):
    instruction_set(isa)
    for shape in (*SHAPES, (1, 3, 17, 6, 3, 41, 5)):
        for layout in ("contiguous", "channels_last"):
            check_against_float64(NAME, stored, reference, *styled(shape, dtype, layout))


@pytest.mark.parametrize("colours", [0, 3])
def test_large_maps_take_the_gradient_kernel_of_the_block(colours, monkeypatch):
    given = styled((2, 3, 5, 6, colours, 128, 3))
    check_against_float64(NAME, native, reference, *given)
    called = []
    real = torch.ops.deltafast.wavelet_block_stored
    monkeypatch.setattr(torch.ops.deltafast, "wavelet_block_stored", lambda *a: called.append(1) or real(*a))
    native(*given)
    native(*styled((2, 3, 5, 6, colours, 127, 3)))
    given[1].requires_grad_()
    native(*given)
    assert called == [1]


def test_gradients_of_a_block_without_styles_and_of_a_single_style():
    x, *tensors = styled(SHAPES[0])
    bare = [x, *tensors[:2], None, None, None, *tensors[5:7], None, None, None, tensors[10], None, None]
    check_against_float64(NAME, stored, reference, *bare)
    tensors = [t.detach() for t in (x, *tensors)]
    tensors[10].requires_grad_()
    check_against_float64(NAME, stored, reference, *tensors)


def test_the_gradient_kernel_is_repeatable_to_the_bit_by_any_number_of_threads():
    given = styled((1, 12, 24, 20, 3, 68, 18))
    wanted = [t for t in given if t.requires_grad]
    results, before = [], torch.get_num_threads()
    weight = torch.randn(1, 3, 4 * 68, 4 * 18, generator=torch.Generator().manual_seed(1))
    for threads in (1, 1, 2, 3, 4):
        torch.set_num_threads(threads)
        results.append(torch.autograd.grad(stored(*given), wanted, weight))
    torch.set_num_threads(before)
    for first, *others in zip(*results, strict=True):
        assert all(torch.equal(first, other) for other in others)


def test_the_gradient_kernel_takes_an_empty_batch():
    given = styled((0, 3, 5, 7, 3, 2, 2))
    gradients = torch.autograd.grad(stored(*given).sum(), [t for t in given if t.requires_grad])
    assert [g.shape for g in gradients] == [t.shape for t in given if t.requires_grad]


def test_the_gradient_kernel_refuses_a_second_derivative_by_name():
    given = styled(SHAPES[0])
    (grad,) = torch.autograd.grad(stored(*given).square().sum(), given[0], create_graph=True)
    with pytest.raises(NativeOpError, match="wavelet_block: the native kernel can be differentiated once only"):
        grad.sum().backward()


def test_large_maps_are_cut_into_bands():
    check_values(*case((1, 4, 8, 6, 3, 140, 70)))


def test_optional_tensors_can_be_left_out():
    x, *tensors = case(SHAPES[0])
    bare = [SeparableLayer(*tensors[0:2]), SeparableLayer(*tensors[5:7]), ImageLayer(tensors[10])]
    expected = wavelet_block_reference(x, *bare)
    assert (wavelet_block(x, *bare, impl="native") - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_an_empty_batch():
    assert native(*case((0, 3, 5, 7, 3, 2, 2))).shape == (0, 3, 8, 8)
    assert native(*case((0, 3, 5, 7, 0, 2, 2))).shape == (0, 7, 4, 4)


def test_repeatable_to_the_bit_by_any_number_of_threads():
    before = torch.get_num_threads()
    for shape in ((1, 12, 24, 20, 3, 40, 18), (1, 16, 64, 64, 0, 64, 64)):
        given = case(shape)
        results = []
        for threads in (1, 1, 2, 3, 4):
            torch.set_num_threads(threads)
            results.append(native(*given))
        torch.set_num_threads(before)
        assert all(torch.equal(results[0], other) for other in results[1:])


def test_opcheck_of_the_gradient_kernel():
    for shape in SHAPES[:2]:
        tensors = styled(shape)
        tensors += [None] * (14 - len(tensors))
        torch.library.opcheck(torch.ops.deltafast.wavelet_block_stored.default, (*tensors, 0.2, 1.3))


def test_the_gradient_kernel_compiles_without_graph_breaks():
    given = styled((1, 2, 3, 4, 3, 128, 2))
    wanted = [t for t in given if t.requires_grad]
    compiled = torch.compile(native, fullgraph=True, backend="aot_eager")
    expected, result = native(*given), compiled(*given)
    torch.testing.assert_close(result, expected)
    for ours, eager in zip(
        torch.autograd.grad(result.sum(), wanted), torch.autograd.grad(expected.sum(), wanted), strict=True
    ):
        torch.testing.assert_close(ours, eager)


def test_opcheck():
    utilities = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    for shape in SHAPES[:2]:
        tensors = case(shape)
        tensors += [None] * (14 - len(tensors))
        torch.library.opcheck(torch.ops.deltafast.wavelet_block.default, (*tensors, 0.2, 1.3), test_utils=utilities)


@pytest.mark.parametrize("gradients", [False, True], ids=["one kernel", "layer by layer"])
def test_compiles_without_graph_breaks(gradients):
    given = case(SHAPES[0], requires_grad=gradients)
    compiled = torch.compile(native, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*given), native(*given))


def test_the_kernel_has_no_gradient_and_says_so():
    tensors = case(SHAPES[0], requires_grad=True)
    result = torch.ops.deltafast.wavelet_block(*tensors, 0.2, 1.3)
    with pytest.raises(NativeOpError, match="wavelet_block: the native kernel has no gradient"):
        result.sum().backward()


X, *REST = case((1, 2, 3, 4, 3, 2, 2))
FIRST, SECOND, LAST = arranged(X, *REST)[1:]
BAD = [
    ({"x": torch.zeros(1, 8, 4)}, r"x must be \[N, C, H, W\]"),
    ({"x": torch.zeros(1, 6, 2, 2)}, "first: with wavelet, x must have 4 C channels, got 6"),
    ({"first": tuple(FIRST)}, "first must be a SeparableLayer, got tuple"),
    ({"second": FIRST}, r"second: depthwise must be \[C, 1, 3, 3\] = \[3, 1, 3, 3\]"),
    ({"second": SECOND._replace(noise=torch.zeros(1, 1, 2, 2))}, r"second: noise must be .* = \[1, 1, 4, 4\]"),
    ({"image": tuple(LAST)}, "image must be an ImageLayer or None, got tuple"),
    ({"image": LAST._replace(style=torch.zeros(1, 3))}, r"image: style must be \[N, C\] = \[1, 4\]"),
    ({"gain": math.inf}, "gain must be positive and finite"),
    ({"impl": "fast"}, "impl must be 'auto', 'native' or 'reference'"),
]


@pytest.mark.parametrize(("wrong", "text"), BAD, ids=[text[:32] for _, text in BAD])
def test_bad_input_is_named(wrong, text):
    with pytest.raises(InvalidInputError, match=text):
        wavelet_block(**{"x": X, "first": FIRST, "second": SECOND, "image": LAST, **wrong})


def test_half_precision_on_the_cpu_runs_the_reference_and_refuses_native():
    given = arranged(*case(SHAPES[0], torch.bfloat16))
    assert torch.equal(wavelet_block(*given), wavelet_block_reference(*given))
    with pytest.raises(NativeOpError, match="wavelet_block: there is no native CPU kernel for bfloat16"):
        wavelet_block(*given, impl="native")
