"""A training step: pairs and noise of its own each time, the same bits each run; on CUDA one graph, replayed."""

from __future__ import annotations

import pytest
import torch

from deltafast.delta import DeltaConfig, train_editor
from deltafast.delta.training_step import TrainingStep
from deltafast.errors import InvalidInputError
from deltafast.ops import DeltaSizes, delta_loss_reference, weight_count
from deltafast.sequence_latents import SequenceLatents

SIZES = DeltaSizes(slots=3, w_dim=40, width=12, layers=2, dim=4)
CONFIG = DeltaConfig(
    width=12, layers=2, dim=4, steps=40, pairs=5, lr=1e-2, noise_encoder=0.2, noise_decoder=0.3, seed=9
)


def begin(device: str = "cpu", config: DeltaConfig = CONFIG) -> TrainingStep:
    random = torch.Generator().manual_seed(4)
    weights = 0.2 * torch.randn(weight_count(SIZES), generator=random)
    x = torch.randn(SIZES.slots, 6, 4, SIZES.w_dim, generator=random)
    return TrainingStep(weights.to(device), x.to(device), config)


def test_a_step_is_adam_on_the_reference_with_pairs_and_noise_of_its_own() -> None:
    training = begin()
    weights = training.weights.detach().clone().requires_grad_()
    adam = torch.optim.Adam([weights], betas=(0.9, 0.99))
    seen = []
    for step in range(4):
        pairs = training._pairs[step]  # [2, P]
        assert not (pairs[0] == pairs[1]).any()
        seen.append(pairs.tolist())
        key = {name: torch.tensor(value) for name, value in (("seed", 9), ("step", step), ("first_sample", 0))}
        noise = {"noise_encoder": 0.2, "noise_decoder": 0.3}
        loss = delta_loss_reference(training._x, *pairs, weights, sizes=SIZES, **key, **noise)
        adam.param_groups[0]["lr"] = float(training._rates[step])
        adam.zero_grad()
        loss.backward()
        adam.step()
        training.advance()
        assert int(training.step) == step + 1
        torch.testing.assert_close(training.losses[step], loss.detach(), rtol=1e-5, atol=0)
        torch.testing.assert_close(training.weights.detach(), weights.detach(), rtol=0, atol=2e-4)
    assert len({str(pairs) for pairs in seen}) == 4


def test_the_same_seed_gives_the_same_bits_and_another_one_others() -> None:
    runs = [begin(), begin(), begin(config=DeltaConfig(**{**vars(CONFIG), "seed": 10}))]
    for training in runs:
        for _ in range(5):
            training.advance()
    assert torch.equal(runs[0].weights, runs[1].weights)
    assert torch.equal(runs[0].losses, runs[1].losses)
    assert not (runs[0].losses[:5] == runs[2].losses[:5]).any()


@pytest.mark.gpu
def test_replayed_graphs_make_the_steps_that_are_made_one_by_one() -> None:
    replayed, plain, on_cpu = begin("cuda"), begin("cuda"), begin()
    for _ in range(CONFIG.steps):
        replayed.advance()
        plain._make()
        on_cpu.advance()
    assert int(replayed.step) == CONFIG.steps
    assert torch.equal(replayed.losses, plain.losses)
    assert torch.equal(replayed.weights, plain.weights)
    assert len(replayed.losses.unique()) == CONFIG.steps
    torch.testing.assert_close(replayed.losses.cpu(), on_cpu.losses, rtol=1e-3, atol=0)


@pytest.mark.gpu
def test_an_editor_trained_on_a_gpu_edits_like_one_trained_here(
    sequences: SequenceLatents, config: DeltaConfig
) -> None:
    here, there = (train_editor(sequences, "yaw", config, device=device) for device in ("cpu", "cuda"))
    ws = sequences.stack("yaw")[:, 2]
    change = here.edit(ws, 1.0) - ws
    assert float((there.edit(ws, 1.0) - here.edit(ws, 1.0)).norm() / change.norm()) < 0.02


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_named(sequences: SequenceLatents, config: DeltaConfig) -> None:
    for device in ("cuda", "quantum"):
        with pytest.raises(InvalidInputError, match=f"device '{device}' is none that can be used here"):
            train_editor(sequences, "yaw", config, device=device)


def test_a_training_that_diverges_says_where(sequences: SequenceLatents) -> None:
    wild = DeltaConfig(slots=(0, 1), dim=2, width=4, steps=60, pairs=2, lr=1e30)
    with pytest.raises(InvalidInputError, match=r"training diverged at step \d+ .*use a smaller lr"):
        train_editor(sequences, "yaw", wild)
