"""A seed is the same face in every batch, and the one that StyleGAN's scripts make of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_generators import stylegan2_tensors

from deltafast.errors import InvalidInputError
from deltafast.generators.build import build_generator
from deltafast.generators.seeds import class_labels, latents_from_seeds


def test_a_seed_is_the_mapping_of_numpys_random_state(tiny_mobilestylegan):
    generator = tiny_mobilestylegan()
    ws = latents_from_seeds(generator, [5, 17], 0.7)
    z = torch.from_numpy(np.random.RandomState(17).randn(1, generator.z_dim)).float()
    assert torch.equal(ws[1:], generator.mapping(z, truncation_psi=0.7))
    assert ws.shape == (2, generator.num_ws, generator.w_dim)
    assert torch.equal(latents_from_seeds(generator, range(10, 20), 0.7)[7], ws[1])
    assert latents_from_seeds(generator, []).shape == (0, generator.num_ws, generator.w_dim)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(tiny_mobilestylegan, seed):
    with pytest.raises(InvalidInputError, match=str(seed)):
        latents_from_seeds(tiny_mobilestylegan(), [seed])


@pytest.mark.parametrize("seed", [1.5, "3", None, torch.tensor(0.5)])
def test_a_seed_that_is_no_whole_number_is_refused(tiny_mobilestylegan, seed):
    with pytest.raises(InvalidInputError, match="whole numbers"):
        latents_from_seeds(tiny_mobilestylegan(), [seed])


def test_seeds_of_every_whole_kind_give_codes_of_the_generators_precision(tiny_mobilestylegan):
    generator = tiny_mobilestylegan().double()
    ws = latents_from_seeds(generator, [np.int64(3), torch.tensor(3), 3])
    assert torch.equal(ws[0], ws[1])
    assert torch.equal(ws[0], ws[2])
    assert latents_from_seeds(generator, []).dtype == ws.dtype == torch.float64


def test_a_conditional_generator_needs_a_class_and_has_those_it_has() -> None:
    tensors = stylegan2_tensors(c_dim=3)
    generator = build_generator(tensors, {"architecture": "stylegan2", "img_resolution": 16}, "conditional")
    one, two = (latents_from_seeds(generator, [5], class_index=k) for k in (1, 2))
    assert not torch.allclose(one, two)
    z = torch.from_numpy(np.random.RandomState(5).randn(1, generator.z_dim)).float()
    torch.testing.assert_close(one, generator.mapping(z, torch.tensor([[0.0, 1.0, 0.0]])))
    with pytest.raises(InvalidInputError, match="choose one of its classes, 0 to 2"):
        latents_from_seeds(generator, [5])
    with pytest.raises(InvalidInputError, match="0 to 2, got"):
        latents_from_seeds(generator, [5], class_index=3)
    labels = class_labels(generator, None, 5)
    assert labels is not None
    assert labels.argmax(1).tolist() == [0, 1, 2, 0, 1]
