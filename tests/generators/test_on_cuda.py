"""Generators on a GPU make the images that they make on a CPU; what differs there is checked on the CPU as well."""

from __future__ import annotations

import copy
import sys

import pytest
import torch

from benchmarks.contenders import torch_itself
from deltafast.ops import conv_path, conv_to_rgb, devices, modulated_conv2d
from deltafast.ops.tolerance import FLOOR, max_error

MULTIPLES = (2.0, 3.0)  # of the error of plain torch in the same precision: for images, for gradients


def _ws(generator, n=2):
    z = torch.randn(n, generator.z_dim, generator=torch.Generator().manual_seed(5))
    return generator.mapping(z).detach()


@pytest.mark.parametrize("noise_mode", ["const", "none"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_both_ways_through_mobilestylegan_make_the_same_images_and_gradients(
    tiny_mobilestylegan, monkeypatch, noise_mode, dtype
):
    generator = tiny_mobilestylegan().to(dtype)
    results = []
    for around in (False, True):
        monkeypatch.setattr(devices, "CUDA_KERNEL_DEVICES", frozenset({"cpu", "cuda"} if around else {"cuda"}))
        ws = _ws(generator).requires_grad_()
        images = generator.synthesis(ws, noise_mode)
        (gradient,) = torch.autograd.grad(images.square().mean(), ws)
        results.append((images.detach(), gradient))
    relative = FLOOR if dtype is torch.float32 else 1e-12
    for layers, parts in zip(*results, strict=True):
        assert max_error(parts, layers) <= relative * float(layers.abs().max())


def _images_and_gradient(synthesis, ws):
    leaf = ws.clone().requires_grad_()
    images = synthesis(leaf)
    weights = torch.linspace(-1, 1, images.numel()).reshape(images.shape)
    return [images.detach(), *torch.autograd.grad(images, leaf, weights.to(images))]


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_gpu_makes_the_images_and_gradients_of_float64_on_a_cpu(tiny, dtype, device):
    generator = tiny().requires_grad_(False)
    ws = _ws(generator)
    exact = _images_and_gradient(copy.deepcopy(generator).double().synthesis, ws)
    generator.to(device)
    plain = _images_and_gradient(torch_itself(generator, dtype), ws.to(device))
    ours = _images_and_gradient(generator.to(dtype).synthesis, ws.to(device))
    with torch.no_grad():  # StyleGAN2 takes other kernels where nothing needs a gradient
        images = generator.synthesis(ws.to(device))
    assert max_error(images, exact[0]) <= max(
        MULTIPLES[0] * max_error(plain[0], exact[0]), FLOOR * float(exact[0].abs().max())
    )
    for multiple, result, theirs, truth in zip(MULTIPLES, ours, plain, exact, strict=True):
        allowed = max(multiple * max_error(theirs, truth), FLOOR * float(truth.abs().max()))
        assert max_error(result, truth) <= allowed


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("path", ["mma", "wgmma"])
def test_our_own_convolutions_make_the_same_images(tiny_stylegan2, monkeypatch, path, device):
    """In all layers, with and without gradients; weights that are written through .data are seen."""
    if path == "wgmma" and device == "cuda" and torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("wgmma is sm_90's")
    generator = tiny_stylegan2(width=16, widening=8).requires_grad_(False)
    ws = _ws(generator)
    exact = _images_and_gradient(copy.deepcopy(generator).double().synthesis, ws)
    generator.to(device)
    plain = _images_and_gradient(torch_itself(generator, torch.float16), ws.to(device))
    generator.to(torch.float16)
    chosen = []

    def watched(*arguments, **options):
        chosen.append(conv_path.chosen_path(*arguments, **options))
        return chosen[-1]

    for module in (modulated_conv2d, conv_to_rgb):
        monkeypatch.setattr(sys.modules[module.__module__], "chosen_path", watched)
    monkeypatch.setattr(conv_path, "_switch", path)
    ours = _images_and_gradient(generator.synthesis, ws.to(device))
    with torch.no_grad():
        images = generator.synthesis(ws.to(device))
    assert set(chosen) == {path}
    for result, theirs, truth, multiple in zip(ours, plain, exact, MULTIPLES, strict=True):
        allowed = max(multiple * max_error(theirs, truth), FLOOR * float(truth.abs().max()))
        assert max_error(result, truth) <= allowed
    assert max_error(images, exact[0]) <= MULTIPLES[0] * max_error(plain[0], exact[0])
    with torch.no_grad():
        generator.synthesis.blocks()[1].conv1.weight.data.mul_(-1.0)
        assert not torch.equal(generator.synthesis(ws.to(device)), images)
