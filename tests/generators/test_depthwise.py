"""The depthwise convolution and its own backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from deltafast.generators.depthwise import depthwise_conv3x3
from deltafast.generators.haar import inverse_haar


def _inputs(dtype=torch.float64, channels=5, height=6, width=7):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, height, width, generator=g).to(dtype)
    return x.requires_grad_(), torch.randn(channels, 1, 3, 3, generator=g).to(dtype).requires_grad_()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients_equal_those_of_autograd(memory_format):
    x, weight = _inputs()
    x = x.detach().contiguous(memory_format=memory_format).requires_grad_()
    expected = F.conv2d(x, weight, padding=1, groups=5)
    result = depthwise_conv3x3(x, weight)
    assert torch.equal(result, expected)
    seed = torch.randn_like(result)
    for ours, theirs in zip(
        torch.autograd.grad(result, (x, weight), seed), torch.autograd.grad(expected, (x, weight), seed), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_first_and_second_derivatives():
    x, weight = _inputs(height=4, width=3)
    assert torch.autograd.gradcheck(depthwise_conv3x3, (x, weight))
    assert torch.autograd.gradgradcheck(depthwise_conv3x3, (x, weight))


def test_only_the_gradient_that_is_needed_is_made():
    x, weight = _inputs()
    depthwise_conv3x3(x, weight.detach()).sum().backward()
    assert x.grad is not None
    x, weight = _inputs()
    depthwise_conv3x3(x.detach(), weight).sum().backward()
    assert weight.grad is not None


def test_the_wavelet_gives_the_same_with_and_without_gradients():
    x = torch.randn(2, 8, 3, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = inverse_haar(x)
    tracked = inverse_haar(x.requires_grad_())
    assert plain.shape == (2, 2, 6, 10)
    assert torch.equal(plain, tracked)
    expected = (x[:, 0:2] - x[:, 2:4] + x[:, 4:6] - x[:, 6:8])[:, :, 0, 0]
    assert torch.allclose(plain[:, :, 1, 0], expected, atol=1e-6)
