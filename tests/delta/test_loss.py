"""The loss is the paper's: checked against a loop that writes its formula down, term by term."""

from __future__ import annotations

import torch

from deltafast.delta.loss import frame_pairs, paper_loss
from deltafast.delta.networks import DeltaDecoder, DeltaEncoder, GroupedLinear, Normalisation

S, P, N, C, D = 3, 4, 5, 8, 2


def _networks(layers: int = 2) -> tuple[DeltaEncoder, DeltaDecoder]:
    random = torch.Generator().manual_seed(0)
    encoder, decoder = DeltaEncoder(S, C, 6, layers, D), DeltaDecoder(S, C, 6, layers, D)
    encoder.initialise(random)
    decoder.initialise(random)
    return encoder.double(), decoder.double()


def _inputs() -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, S, P, N, C, generator=random, dtype=torch.float64)
    noise_a, noise_b = torch.randn(2, S, P, 1, C, generator=random, dtype=torch.float64)
    return a, b, noise_a, noise_b


def _loop(
    encoder: DeltaEncoder, decoder: DeltaDecoder, inputs: tuple[torch.Tensor, ...], lambda_a: float, lambda_b: float
) -> torch.Tensor:
    a, b, noise_a, noise_b = inputs
    total = torch.zeros((), dtype=torch.float64)
    for p in range(P):
        for i in range(N):
            for j in range(N):
                if i == j:
                    continue
                a_i, a_j, b_i, b_j = (x[:, p, k][:, None] for x, k in ((a, i), (a, j), (b, i), (b, j)))  # [S, 1, C]
                n_a, n_b = noise_a[:, p], noise_b[:, p]  # [S, 1, C]
                delta = encoder(a_i + n_a, a_j + n_a)  # [S, 1, D]
                a_hat = decoder(a_i + n_b, delta) + a_i
                b_hat = decoder(b_i + n_b, delta) + b_i
                total = total + lambda_a * (a_j - a_hat).square().sum() + lambda_b * (b_j - b_hat).square().sum()
    return total / (S * P * N * (N - 1) * C)


def test_loss_and_gradients_are_those_of_the_papers_formula() -> None:
    encoder, decoder = _networks()
    inputs = _inputs()
    parameters = [*encoder.parameters(), *decoder.parameters()]
    ours = paper_loss(encoder, decoder, *inputs, lambda_a=0.7, lambda_b=1.3)
    loop = _loop(encoder, decoder, inputs, 0.7, 1.3)
    torch.testing.assert_close(ours, loop, rtol=1e-12, atol=0)
    ours_gradients = torch.autograd.grad(ours, parameters)
    loop_gradients = torch.autograd.grad(loop, parameters)
    for ours_gradient, loop_gradient in zip(ours_gradients, loop_gradients, strict=True):
        torch.testing.assert_close(ours_gradient, loop_gradient, rtol=1e-9, atol=1e-12)


def test_each_lambda_weighs_its_own_identity() -> None:
    encoder, decoder = _networks()
    a, b, noise_a, noise_b = _inputs()

    def loss(x: torch.Tensor, y: torch.Tensor, lambda_a: float, lambda_b: float) -> float:
        loss = paper_loss(encoder, decoder, x, y, noise_a, noise_b, lambda_a=lambda_a, lambda_b=lambda_b)
        return float(loss.detach())

    assert loss(a, b, 1, 0) == loss(a, b + 1, 1, 0)  # λ2 = 0: b does not matter
    assert loss(a, b, 0, 1) != loss(a, b + 1, 0, 1)
    assert loss(a, b, 0, 1) != loss(b, a, 0, 1)  # Δ comes from the first of the two


def test_both_directions_are_among_the_pairs() -> None:
    i, j = frame_pairs(4)
    pairs = set(zip(i.tolist(), j.tolist(), strict=True))
    assert pairs == {(x, y) for x in range(4) for y in range(4) if x != y}
    assert len(i) == 12


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
