"""E and D slot by slot, and the normalisation around them."""

from __future__ import annotations

import torch

from deltafast.delta.networks import GroupedLinear, Normalisation

S, C, D = 3, 8, 2


def test_slots_do_not_see_each_other() -> None:
    layer = GroupedLinear(S, C, D)
    layer.initialise(torch.Generator().manual_seed(2))
    x = torch.randn(S, 7, C)
    expected = torch.stack([x[s] @ layer.weight[s] for s in range(S)])
    torch.testing.assert_close(layer(x), expected)
    changed = x.clone()
    changed[1] += 1
    assert torch.equal(layer(changed)[0], layer(x)[0])
    assert not torch.equal(layer(changed)[1], layer(x)[1])


def test_normalisation_has_unit_spread_and_is_undone_by_change() -> None:
    latents = torch.randn(50, S, C) * 3 + 5
    normalisation = Normalisation(S, C)
    normalisation.fit(latents)
    x = normalisation(latents)
    assert x.shape == (S, 50, C)
    assert abs(float(x.square().mean()) - 1) < 1e-4
    torch.testing.assert_close(normalisation.change(x[:, 1:] - x[:, :-1]), latents[1:] - latents[:-1])
