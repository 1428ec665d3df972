"""activated_depthwise against its definition in float64: result, gradients, layouts, sizes, errors."""

from __future__ import annotations

import pytest
import torch
from op_checks import CUDA, DEVICES, LAYOUTS, NATIVE_CUDA, check_against_float64, image

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import activated_depthwise, activated_depthwise_reference

# [N, C, h, w] of u without the wavelet: tiles that are full, cut off, and smaller than one; packs and single channels
SHAPES = [(2, 16, 8, 16), (1, 72, 9, 17), (2, 5, 3, 2), (1, 3, 20, 33), (64, 8, 1, 1)]


def arguments(shape, wavelet, layout="channels_last", dtype=torch.float32, device="cpu", maps=None):
    """u, depthwise, noise, bias and the style, all of which want gradients."""
    n, c, h, w = shape
    width = 4 * c if wavelet else c
    g = torch.Generator().manual_seed(1)

    def small(*sizes):
        return torch.randn(*sizes, generator=g).to(device).requires_grad_()

    u = image((n, width, h, w), layout, dtype, device).requires_grad_()
    noise = small(maps or n, 1, h, w)
    return [u, small(c, 1, 3, 3), noise, small(width)], small(n, width)


def check(given, style, wavelet, **options):
    def native(*inputs, style):
        return activated_depthwise(*inputs, style=style, wavelet=wavelet, impl="native", **options)

    def reference(*inputs, style):
        return activated_depthwise_reference(*inputs, style=style, wavelet=wavelet, **options)

    check_against_float64("activated_depthwise", native, reference, *given, style=style)


@pytest.mark.parametrize("wavelet", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("device", "dtype"), NATIVE_CUDA)
def test_result_and_all_gradients_match_float64(device, dtype, shape, wavelet):
    given, style = arguments(shape, wavelet, dtype=dtype, device=device)
    check(given, style, wavelet, gain=1.3)


@pytest.mark.parametrize("wavelet", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("device", CUDA)
def test_every_layout(device, layout, wavelet):
    given, style = arguments((2, 12, 6, 7), wavelet, layout, device=device, maps=1)
    check(given, style, wavelet)


@pytest.mark.parametrize("wavelet", [False, True])
@pytest.mark.parametrize("device", CUDA)
def test_nothing_but_the_convolution(device, wavelet):
    given, _ = arguments((2, 8, 5, 6), wavelet, device=device)
    u, depthwise = given[:2]
    for options in ({"negative_slope": 1.0}, {"negative_slope": 0.0, "gain": 2.0}):

        def native(u, depthwise, options=options):
            return activated_depthwise(u, depthwise, wavelet=wavelet, impl="native", **options)

        def reference(u, depthwise, options=options):
            return activated_depthwise_reference(u, depthwise, wavelet=wavelet, **options)

        check_against_float64("activated_depthwise", native, reference, u, depthwise)


@pytest.mark.parametrize("device", DEVICES)
def test_two_of_it_and_a_convolution_between_are_two_layers(device):
    x, depthwise, noise, bias = (t.detach() for t in arguments((1, 8, 6, 6), False, device=device)[0])
    pointwise = torch.randn(8, 8, 1, 1).to(device)
    style = torch.randn(1, 8).to(device)
    begun = activated_depthwise(x, depthwise, style=style, negative_slope=1.0)
    ended = activated_depthwise(torch.conv2d(begun, pointwise), depthwise, noise, bias)
    layer = torch.conv2d(torch.conv2d(x * style[:, :, None, None], depthwise, padding=1, groups=8), pointwise)
    layer = torch.nn.functional.leaky_relu(layer + noise + bias[:, None, None], 0.2)
    expected = torch.conv2d(layer, depthwise, padding=1, groups=8)
    assert (ended - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("wavelet", [False, True])
@pytest.mark.parametrize("device", CUDA)
def test_an_empty_batch(device, wavelet):
    given, style = arguments((0, 4, 4, 4), wavelet, device=device)
    z = activated_depthwise(*given, style=style, wavelet=wavelet, impl="native")
    assert z.shape == (0, 4, 8, 8) if wavelet else (0, 4, 4, 4)
    gradients = torch.autograd.grad(z.sum(), [*given, style])
    assert [tuple(g.shape) for g in gradients] == [tuple(t.shape) for t in [*given, style]]


@pytest.mark.parametrize("wavelet", [False, True])
@pytest.mark.parametrize("device", CUDA)
def test_repeatable_to_the_bit_by_any_number_of_threads(device, wavelet):
    given, style = arguments((2, 24, 17, 19), wavelet, device=device)

    def run():
        z = activated_depthwise(*given, style=style, wavelet=wavelet, impl="native")
        return [z, *torch.autograd.grad(z.square().sum(), [given[0], style])]

    threads = torch.get_num_threads()
    first = run()
    torch.set_num_threads(1)
    try:
        again = run()
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("wavelet", [False, True])
@pytest.mark.parametrize("device", CUDA)
def test_opcheck(device, wavelet):
    given, style = arguments((2, 4, 4, 6), wavelet, device=device)
    operator = torch.ops.deltafast.activated_depthwise.default
    torch.library.opcheck(operator, (*given, style, wavelet, 0.2, 1.0))
    torch.library.opcheck(operator, (*given[:2], None, None, None, wavelet, 1.0, 1.0))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_whole(device):
    given, style = arguments((1, 4, 4, 4), True, device=device)
    run = torch.compile(
        lambda u, d, n, b, s: activated_depthwise(u, d, n, b, style=s, wavelet=True),
        fullgraph=True,
        backend="aot_eager",
    )
    expected = activated_depthwise(*given, style=style, wavelet=True)
    assert torch.equal(run(*given, style), expected)


@pytest.mark.parametrize("device", CUDA)
def test_a_second_gradient_is_refused(device):
    given, style = arguments((1, 4, 4, 4), False, device=device)
    z = activated_depthwise(*given, style=style, impl="native")
    (g,) = torch.autograd.grad(z.square().sum(), given[0], create_graph=True)
    with pytest.raises(NativeOpError, match=r"activated_depthwise: .* once only\. Use impl='reference'"):
        torch.autograd.grad(g.sum(), given[0])


def test_mistakes_are_named():
    (u, depthwise, noise, bias), style = arguments((2, 4, 4, 6), False)
    with pytest.raises(InvalidInputError, match=r"u must have 4 C channels, got 6"):
        activated_depthwise(torch.zeros(1, 6, 4, 4), depthwise, wavelet=True)
    with pytest.raises(InvalidInputError, match=r"depthwise must be .* = \[4, 1, 3, 3\], got \[3, 1, 3, 3\]"):
        activated_depthwise(u, depthwise[:3])
    with pytest.raises(InvalidInputError, match=r"noise must be .* = \[2, 1, 4, 6\], got \[2, 1, 4, 5\]"):
        activated_depthwise(u, depthwise, noise[..., :5])
    with pytest.raises(InvalidInputError, match=r"bias must be \[C\] = \[4\], got \[3\]"):
        activated_depthwise(u, depthwise, noise, bias[:3])
    with pytest.raises(InvalidInputError, match=r"style must be \[N, C\] = \[2, 4\], got \[2, 3\]"):
        activated_depthwise(u, depthwise, style=style[:, :3])
    with pytest.raises(InvalidInputError, match=r"negative_slope must be in 0\.\.1, got 2"):
        activated_depthwise(u, depthwise, negative_slope=2.0)
    with pytest.raises(InvalidInputError, match="gain must be finite"):
        activated_depthwise(u, depthwise, gain=float("inf"))


def test_on_a_cpu_the_reference_runs_and_native_is_refused():
    given, style = arguments((2, 4, 4, 6), True)
    assert torch.equal(
        activated_depthwise(*given, style=style, wavelet=True),
        activated_depthwise_reference(*given, style=style, wavelet=True),
    )
    with pytest.raises(NativeOpError, match=r"activated_depthwise: there is no native CPU kernel, only one for CUDA"):
        activated_depthwise(*given, style=style, wavelet=True, impl="native")
