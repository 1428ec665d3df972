"""An attribute's sequences without another's: what is taken out, what stays, and that editors learn it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sequences import YAW, make_sequences

from deltafast.delta import DeltaConfig, train_editor
from deltafast.delta.apart import apart_from
from deltafast.errors import InvalidInputError
from deltafast.generators.base import Generator
from deltafast.generators.w_statistics import WStatistics
from deltafast.sequence_latents import GeneratorId, SequenceLatents


@pytest.fixture(scope="module")
def mixed(tiny_generator: Generator) -> SequenceLatents:
    """Sequences in the W+ of the tiny generator in which turning the head brings a good share of a smile along."""
    plain = make_sequences(
        num_ws=tiny_generator.num_ws, w_dim=tiny_generator.w_dim, generator=GeneratorId.of(tiny_generator)
    )
    latents = dict(plain.latents)
    for identity in plain.identities:
        smile = plain.latents["smile", identity]
        amounts = torch.tensor(YAW)[:, None, None] / 30
        latents["yaw", identity] = latents["yaw", identity] + 0.5 * amounts * (smile[-1] - smile[0])
    return SequenceLatents(plain.attributes, plain.identities, latents, plain.generator)


def _smile_of(change: torch.Tensor, latents: SequenceLatents, statistics: WStatistics) -> torch.Tensor:
    """The share of the mean smile in changes `[..., num_ws, w_dim]`, by slot, in W's metric."""
    stack = latents.stack("smile")
    smile = statistics.whiten((stack[:, -1] - stack[:, 0]).mean(0))
    return (statistics.whiten(change) * smile).sum(-1) / smile.square().sum(-1)


def test_differences_hold_nothing_of_the_other_attribute_and_the_rest_stays(
    tiny_generator: Generator, mixed: SequenceLatents
) -> None:
    statistics = WStatistics.of(tiny_generator)
    apart = apart_from(mixed, "yaw", ["smile"], statistics)
    assert list(apart.attributes) == ["yaw"]
    before, after = mixed.stack("yaw"), apart.stack("yaw")
    torch.testing.assert_close(after[:, 2], before[:, 2], rtol=0, atol=0)  # neutral
    turned = after - after[:, 2:3]
    assert _smile_of(before - before[:, 2:3], mixed, statistics).abs().max() > 0.3
    assert _smile_of(turned, mixed, statistics).abs().max() < 1e-4
    whitened = statistics.whiten(turned)
    lost = statistics.whiten(before - after)
    assert (whitened * lost).sum(-1).abs().max() < 1e-3 * whitened.square().sum(-1).max()  # no more than was needed


def test_an_editor_learns_to_leave_the_other_attribute_alone(tiny_generator: Generator, mixed: SequenceLatents) -> None:
    statistics = WStatistics.of(tiny_generator)
    config = DeltaConfig(slots=(0, 2), dim=4, width=16, steps=150, pairs=4, lr=1e-2)
    ws = mixed.stack("smile")[:, 0]
    shares = []
    for without in ((), ("smile",)):
        editor = train_editor(mixed, "yaw", replace(config, without=without), generator=tiny_generator)
        change = editor.edit(ws, 1.0) - ws
        shares.append(float(_smile_of(change, mixed, statistics)[:, [0, 2]].abs().mean()))
        assert DeltaConfig.from_json(editor.info.config.as_json()).without == without
    assert shares[1] < 0.25 * shares[0]


def test_what_cannot_be_kept_apart_is_named(tiny_generator: Generator, mixed: SequenceLatents) -> None:
    statistics = WStatistics.of(tiny_generator)
    for others, words in ((["yaw"], "kept apart"), (["smile", "smile"], "each once"), (["pitch"], "pitch")):
        with pytest.raises(InvalidInputError, match=words):
            apart_from(mixed, "yaw", others, statistics)
    still = SequenceLatents(
        mixed.attributes,
        mixed.identities,
        {key: rows[:1].expand_as(rows) if key[0] == "smile" else rows for key, rows in mixed.latents.items()},
        mixed.generator,
    )
    with pytest.raises(InvalidInputError, match="no difference"):
        apart_from(still, "yaw", ["smile"], statistics)
    with pytest.raises(InvalidInputError, match="generator"):
        train_editor(mixed, "yaw", DeltaConfig(without=("smile",), steps=1))
    with pytest.raises(InvalidInputError, match="without"):
        DeltaConfig(without="smile")  # type: ignore[arg-type]
