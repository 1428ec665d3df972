"""subband_image against its definition in float64: result, gradients, layouts, sizes, errors."""

from __future__ import annotations

import pytest
import torch
from op_checks import CUDA, LAYOUTS, NATIVE_CUDA, check_against_float64, image

from deltafast.errors import InvalidInputError, NativeOpError
from deltafast.ops import subband_image, subband_image_reference


def arguments(shape, dtype=torch.float32, device="cpu", layout="channels_last"):
    """The subbands and the bias, both of which want gradients."""
    x = image(shape, layout, dtype, device).requires_grad_()
    return x, torch.randn(shape[1], generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()


def native(x, bias=None):
    return subband_image(x, bias, impl="native")


@pytest.mark.parametrize("shape", [(2, 12, 5, 7), (1, 4, 1, 1), (3, 8, 2, 3), (1, 12, 16, 32)], ids=str)
@pytest.mark.parametrize(("device", "dtype"), NATIVE_CUDA)
def test_result_and_gradients_match_float64(device, dtype, shape):
    x, bias = arguments(shape, dtype, device)
    check_against_float64("subband_image", native, subband_image_reference, x, bias)
    check_against_float64("subband_image", native, subband_image_reference, x)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("device", CUDA)
def test_every_layout(device, layout):
    check_against_float64(
        "subband_image", native, subband_image_reference, *arguments((2, 12, 4, 6), device=device, layout=layout)
    )


@pytest.mark.parametrize("device", CUDA)
def test_an_empty_batch(device):
    x, bias = arguments((0, 12, 4, 4), device=device)
    out = native(x, bias)
    assert out.shape == (0, 3, 8, 8)
    gradients = torch.autograd.grad(out.sum(), [x, bias])
    assert [tuple(g.shape) for g in gradients] == [(0, 12, 4, 4), (12,)]


@pytest.mark.parametrize("device", CUDA)
def test_opcheck_and_compile(device):
    x, bias = arguments((2, 12, 3, 4), device=device)
    torch.library.opcheck(torch.ops.deltafast.subband_image.default, (x, bias))
    torch.library.opcheck(torch.ops.deltafast.subband_image.default, (x, None))
    run = torch.compile(subband_image, fullgraph=True, backend="aot_eager")
    assert torch.equal(run(x, bias), subband_image(x, bias))


def test_mistakes_are_named():
    with pytest.raises(InvalidInputError, match=r"x must be \[N, 4 K, H, W\], got \[1, 6, 2, 2\]"):
        subband_image(torch.zeros(1, 6, 2, 2))
    with pytest.raises(InvalidInputError, match=r"bias must be \[4 K\] = \[8\], got \[2\]"):
        subband_image(torch.zeros(1, 8, 2, 2), torch.zeros(2))


@pytest.mark.parametrize("device", CUDA)
def test_a_second_gradient_is_refused(device):
    x, bias = arguments((1, 4, 2, 2), device=device)
    (g,) = torch.autograd.grad(native(x, bias).square().sum(), x, create_graph=True)
    with pytest.raises(NativeOpError, match=r"subband_image: .* once only"):
        torch.autograd.grad(g.sum(), x)


def test_on_a_cpu_the_reference_runs_and_native_is_refused():
    x, bias = arguments((1, 4, 2, 2))
    assert torch.equal(subband_image(x, bias), subband_image_reference(x, bias))
    with pytest.raises(NativeOpError, match=r"subband_image: there is no native CPU kernel, only one for CUDA"):
        native(x, bias)
