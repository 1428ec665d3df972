"""The distribution of W: distances in its own units, and coordinates that can be turned back."""

from __future__ import annotations

import pytest
import torch

from deltafast.errors import InvalidInputError
from deltafast.generators.base import Generator
from deltafast.generators.w_statistics import WStatistics


def test_sampled_codes_lie_one_deviation_from_the_mean(tiny_generator: Generator) -> None:
    statistics = WStatistics.of(tiny_generator)
    z = torch.randn(500, tiny_generator.z_dim, generator=torch.Generator().manual_seed(77))
    ws = tiny_generator.mapping(z)  # [500, num_ws, w_dim]
    assert float(statistics.distance(ws).square().mean()) == pytest.approx(1.0, abs=0.1)
    assert float(statistics.distance(statistics.mean.expand(1, tiny_generator.num_ws, -1))) < 1e-5


def test_truncation_shows_as_its_own_psi(tiny_generator: Generator) -> None:
    statistics = WStatistics.of(tiny_generator)
    z = torch.randn(8, tiny_generator.z_dim, generator=torch.Generator().manual_seed(78))
    whole = tiny_generator.mapping(z)
    half = statistics.mean + 0.5 * (whole - statistics.mean)
    assert torch.allclose(statistics.distance(half), 0.5 * statistics.distance(whole), rtol=1e-4)


def test_whitened_offsets_can_be_turned_back(tiny_generator: Generator) -> None:
    statistics = WStatistics.of(tiny_generator)
    offsets = torch.randn(3, tiny_generator.num_ws, tiny_generator.w_dim, generator=torch.Generator().manual_seed(79))
    again = statistics.unwhiten(statistics.whiten(offsets))
    assert torch.allclose(again, offsets, atol=1e-3)


def test_one_sample_is_no_distribution(tiny_generator: Generator) -> None:
    with pytest.raises(InvalidInputError, match="at least 2"):
        WStatistics.of(tiny_generator, samples=1)
