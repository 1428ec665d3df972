"""Scripts written for NVIDIA's networks run: their arguments, their numpy inputs, their training losses."""

from __future__ import annotations

import numpy as np
import plain_generators
import pytest
import torch

from deltafast.errors import InvalidInputError, NativeOpError


def _z(generator, n=2):
    return torch.from_numpy(np.random.RandomState(0).randn(n, generator.z_dim))  # float64, as their scripts draw it


def test_the_calls_of_generate_py(tiny):
    generator = tiny()
    z, label = _z(generator, 1), torch.zeros([1, generator.c_dim])
    expected = generator.synthesis(generator.mapping(z, truncation_psi=0.7), noise_mode="const")
    assert torch.equal(generator(z, label, truncation_psi=0.7, noise_mode="const"), expected)
    assert torch.equal(generator(z, None, 0.7), expected)
    assert torch.equal(generator(z.numpy(), label.numpy(), 0.7), expected)
    ws = generator.mapping(z, label, truncation_psi=0.7, skip_w_avg_update=True)
    assert torch.equal(generator.synthesis(ws, noise_mode="const", force_fp32=True), expected)
    assert torch.equal(generator.synthesis(ws, fused_modconv=False, update_emas=False), expected)


def test_truncation_by_position_has_a_cutoff(tiny):
    generator = tiny()
    z = _z(generator)
    ws = generator.mapping(z, None, 0.7, 3)
    assert torch.equal(generator(z, None, 0.7, 3), generator.synthesis(ws))
    assert torch.equal(ws[:, 3:], generator.mapping(z)[:, 3:])


def test_the_mean_code_moves_only_when_asked(tiny):
    generator = tiny().train()
    z, before = _z(generator, 64), generator.w_avg.clone()
    generator.mapping(z)
    assert torch.equal(generator.w_avg, before)
    generator.mapping(z, update_emas=True)
    mean = generator.mapping(z)[:, 0].mean(0)
    assert torch.allclose(generator.w_avg, before + 0.002 * (mean - before), atol=1e-6)


def test_a_label_for_an_unconditional_generator_is_refused(tiny):
    generator = tiny()
    with pytest.raises(InvalidInputError, match=r"unconditional: c must be None, or \[N, 0\]"):
        generator(_z(generator), torch.zeros(2, 3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_force_fp32_convolves_in_fp32(tiny, dtype):
    generator = tiny()
    with torch.no_grad():
        for parameter in generator.synthesis.parameters():
            parameter.copy_(parameter.to(dtype))  # so that casting rounds no weight
    ws = generator.mapping(_z(generator))
    expected = generator.synthesis(ws)
    low = generator.to(dtype)
    assert (low.synthesis(ws, force_fp32=True) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (low.synthesis(ws) - expected).abs().max() > 1e-4 * expected.abs().max()


def test_the_noise_of_a_projector_is_optimised(tiny):
    generator = tiny()
    noises = [buffer for name, buffer in generator.synthesis.named_buffers() if "noise_const" in name]
    for noise in noises:
        noise.requires_grad = True
    generator.synthesis(generator.mapping(_z(generator))).square().mean().backward()
    assert all(bool(noise.grad.any()) for noise in noises)


def _path_length(synthesis, ws, y):
    image = synthesis(ws)
    (gradient,) = torch.autograd.grad((image * y).sum(), ws, create_graph=True)
    return gradient.square().sum(2).mean(1).sqrt().square().mean()


def test_path_lengths_are_regularised_with_second_order(tiny_stylegan2):
    generator = tiny_stylegan2(resolution=8, dtype=torch.float64).requires_grad_(True)
    ws = generator.mapping(_z(generator)).detach().requires_grad_()
    y = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    _path_length(lambda w: generator.synthesis(w, second_order=True), ws, y).backward()
    tensors = {name: tensor.detach().clone().requires_grad_() for name, tensor in generator.tensors().items()}
    _path_length(lambda w: plain_generators.stylegan2(tensors, w, 8), ws, y).backward()
    named = generator.synthesis.convolutions[0].weight.grad, generator.synthesis.const.grad
    for found, name in zip(named, ("b4.conv1.weight", "b4.const"), strict=True):
        expected = tensors[f"synthesis.{name}"].grad
        assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()


def test_path_lengths_of_mobilestylegan(tiny_mobilestylegan):
    generator = tiny_mobilestylegan(resolution=16, dtype=torch.float64).requires_grad_(True)
    ws = generator.mapping(_z(generator, 1)).detach().requires_grad_()
    y = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    length = _path_length(lambda w: generator.synthesis(w, second_order=True), ws, y)
    (gradient,) = torch.autograd.grad(length, generator.synthesis.input)
    step = 1e-5 * gradient / gradient.norm()
    with torch.no_grad():
        generator.synthesis.input.add_(step)
    longer = _path_length(lambda w: generator.synthesis(w, second_order=True), ws, y)
    assert (longer - length).item() == pytest.approx((gradient * step).sum().item(), rel=1e-3)


def test_without_it_the_error_says_how(tiny_stylegan2):
    generator = tiny_stylegan2(resolution=8).requires_grad_(True)
    ws = generator.mapping(_z(generator)).detach().requires_grad_()
    with pytest.raises(NativeOpError, match=r"generator\.synthesis\(ws, second_order=True\)"):
        _path_length(generator.synthesis, ws, torch.randn(2, 3, 8, 8)).backward()
