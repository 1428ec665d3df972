"""The mapping network: conditioning, truncation, and the words for wrong inputs."""

from __future__ import annotations

import plain_generators
import pytest
import torch

from deltafast.errors import InvalidInputError


def test_a_conditional_generator_reads_its_label(tiny_stylegan2):
    generator = tiny_stylegan2(c_dim=3)
    assert (generator.z_dim, generator.c_dim, generator.w_dim) == (16, 3, 16)
    z = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    c = torch.eye(3)
    w = generator.mapping(z, c)[:, 0]
    tensors = plain_generators.cast(generator.tensors(), torch.float64)
    assert torch.allclose(w.double(), plain_generators.mapping(tensors, z.double(), c.double()), atol=1e-6)
    assert not torch.allclose(w, generator.mapping(z, c.flip(0))[:, 0])
    image = generator(z, c, truncation_psi=0.5, noise_mode="none")
    assert torch.equal(image, generator.synthesis(generator.mapping(z, c, truncation_psi=0.5), noise_mode="none"))


def test_truncation_pulls_towards_the_mean(tiny_stylegan2):
    generator = tiny_stylegan2()
    z = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    w = generator.mapping(z)
    half = generator.mapping(z, truncation_psi=0.5)
    assert torch.allclose(half, generator.w_avg + 0.5 * (w - generator.w_avg), atol=1e-6)
    assert torch.allclose(generator.mapping(z, truncation_psi=0), generator.w_avg.expand_as(w), atol=1e-6)
    early = generator.mapping(z, truncation_psi=0.5, truncation_cutoff=2)
    assert torch.equal(early[:, :2], half[:, :2])
    assert torch.equal(early[:, 2:], w[:, 2:])


def test_a_batch_of_none_leaves_the_mean_code_alone(tiny_stylegan2):
    generator = tiny_stylegan2()
    before = generator.w_avg.clone()
    assert generator.mapping(torch.zeros(0, generator.z_dim), update_emas=True).shape[0] == 0
    assert torch.equal(generator.w_avg, before)


def test_the_slots_can_be_written_to_one_by_one(tiny_stylegan2):
    generator = tiny_stylegan2()
    ws = generator.mapping(torch.randn(2, 16))
    before = ws[:, 1].clone()
    ws[:, 0] += 1
    assert torch.equal(ws[:, 1], before)


def test_codes_are_differentiable_in_z(tiny_stylegan2):
    generator = tiny_stylegan2(dtype=torch.float64)
    z = torch.randn(2, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: generator.mapping(z, truncation_psi=0.7), (z,))


@pytest.mark.parametrize(
    ("z", "c", "text"),
    [
        (torch.zeros(2, 15), None, r"\[N, 16\]"),
        (torch.zeros(16), None, r"\[N, 16\]"),
        (torch.zeros(2, 16, dtype=torch.int64), None, "floating point"),
        (torch.zeros(2, 16), torch.zeros(2, 3), "unconditional"),
    ],
)
def test_wrong_inputs_are_refused_in_words(tiny_stylegan2, z, c, text):
    with pytest.raises(InvalidInputError, match=text):
        tiny_stylegan2().mapping(z, c)


def test_a_conditional_generator_asks_for_its_label(tiny_stylegan2):
    generator = tiny_stylegan2(c_dim=3)
    with pytest.raises(InvalidInputError, match="conditional"):
        generator.mapping(torch.zeros(2, 16))
    with pytest.raises(InvalidInputError, match=r"c must be \[2, 3\]"):
        generator.mapping(torch.zeros(2, 16), torch.zeros(2, 4))
