"""Training: it learns, it is seeded, and a killed one ends with the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sequences import make_sequences

from deltafast.delta import (
    DeltaConfig,
    Editor,
    LinearEditor,
    PreciseConfig,
    linear_editor,
    load_editor,
    recommended_slots,
    train_editor,
)
from deltafast.delta import training as training_module
from deltafast.delta.held_out import held_out_errors, write_table
from deltafast.delta.training import loss_files
from deltafast.delta.training_state import state_path
from deltafast.errors import InvalidInputError, ResumeError
from deltafast.sequence_latents import SequenceLatents


def _same(first: Editor, second: Editor) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_same_seed_same_bits_other_seed_other_bits(sequences: SequenceLatents, config: DeltaConfig) -> None:
    short = replace(config, steps=12)
    assert _same(train_editor(sequences, "yaw", short), train_editor(sequences, "yaw", short))
    assert not _same(train_editor(sequences, "yaw", short), train_editor(sequences, "yaw", replace(short, seed=1)))


def test_training_does_not_touch_the_global_random_state(sequences: SequenceLatents, config: DeltaConfig) -> None:
    before = torch.random.get_rng_state()
    train_editor(sequences, "yaw", replace(config, steps=3))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path, sequences: SequenceLatents) -> None:
    config = DeltaConfig(slots=(0, 1, 2), dim=4, width=16, steps=800, pairs=4, lr=1e-2)
    sequences.save(tmp_path / "latents.safetensors")
    out = tmp_path / "killed" / "yaw.safetensors"
    program = (
        "import sys; from deltafast.delta import *; from deltafast.sequence_latents import load_latents;"
        "c = DeltaConfig(slots=(0, 1, 2), dim=4, width=16, steps=800, pairs=4, lr=1e-2);"
        "train_editor(load_latents(sys.argv[1]), 'yaw', c, out=sys.argv[2], save_every=20)"
    )
    root = str(Path(training_module.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "DELTAFAST_QUIET": "1"}
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    arguments = [sys.executable, "-c", program, str(tmp_path / "latents.safetensors"), str(out)]
    process = subprocess.Popen(arguments, env=environment)
    deadline = time.monotonic() + 300
    while not state_path(out).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert state_path(out).exists()
    assert not out.exists()
    resumed = train_editor(sequences, "yaw", config, out=out)
    whole = train_editor(sequences, "yaw", config, out=tmp_path / "whole.safetensors")
    assert _same(resumed, whole)
    assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert not state_path(out).exists()
    assert [path.exists() for path in loss_files(out)] == [True, True]
    assert loss_files(out)[0].read_text() == loss_files(tmp_path / "whole.safetensors")[0].read_text()


class _StopError(Exception):
    pass


def _stop_after(monkeypatch: pytest.MonkeyPatch, saves: int) -> None:
    """Make the training stop right after so many saved states, as a power cut would."""
    original, count = training_module.save_training, [0]

    def save(*arguments: object) -> None:
        original(*arguments)  # type: ignore[arg-type]
        count[0] += 1
        if count[0] == saves:
            raise _StopError

    monkeypatch.setattr(training_module, "save_training", save)


def test_other_settings_or_latents_are_refused(
    tmp_path: Path, sequences: SequenceLatents, config: DeltaConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "yaw.safetensors"
    short = replace(config, steps=20)
    with monkeypatch.context() as patch:
        _stop_after(patch, 1)
        with pytest.raises(_StopError):
            train_editor(sequences, "yaw", short, out=out, save_every=10)
    with pytest.raises(ResumeError, match="other settings"):
        train_editor(sequences, "yaw", replace(short, lr=1e-3), out=out)
    with pytest.raises(ResumeError, match="other settings"):
        train_editor(make_sequences(noise=0.02), "yaw", short, out=out)
    done = train_editor(sequences, "yaw", short, out=out)
    again = train_editor(sequences, "yaw", short, out=out)  # finished: returned as it is
    assert _same(done, again)
    with pytest.raises(ResumeError, match="--restart"):
        train_editor(sequences, "yaw", replace(short, seed=9), out=out)
    anew = train_editor(sequences, "yaw", replace(short, seed=9), out=out, restart=True)
    assert _same(anew, load_editor(out))
    assert not _same(anew, done)


def test_a_damaged_state_is_said(tmp_path: Path, sequences: SequenceLatents, config: DeltaConfig) -> None:
    out = tmp_path / "yaw.safetensors"
    state_path(out).write_bytes(b"\x10\0\0\0\0\0\0\0not json")
    with pytest.raises(ResumeError, match="damaged"):
        train_editor(sequences, "yaw", config, out=out)


def test_it_predicts_identities_it_never_saw() -> None:
    latents = make_sequences(identities=16)
    training, held_out = latents.split_identities(4)
    config = DeltaConfig(slots=tuple(range(6)), dim=4, width=32, steps=400, pairs=8, lr=5e-3, noise_decoder=0.1)
    editor = train_editor(training, "yaw", config)
    errors = held_out_errors(editor, training, held_out)
    assert errors.transfer < 0.05  # 1 is the error of predicting no change
    assert errors.reconstruction < 0.05
    assert errors.edit < 0.2
    write_table(errors)
    half = Editor(replace(editor.info, config=replace(config, identities=12, extent=0.5)))
    deltas = {name: 0.5 * value for name, value in editor.state_dict().items() if name.startswith("delta")}
    half.load_state_dict(editor.state_dict() | deltas)
    assert held_out_errors(half, training, held_out).edit == pytest.approx(errors.edit, rel=0.2)  # the same edits


def test_one_sided_and_two_sided_attributes_name_their_ends(sequences: SequenceLatents, config: DeltaConfig) -> None:
    short = replace(config, steps=5, negative="other-end")
    yaw = train_editor(sequences, "yaw", short)
    stack = sequences.stack("yaw")
    torch.testing.assert_close(yaw.delta, yaw.encode(stack[:, 2], stack[:, 4]).mean(0))
    torch.testing.assert_close(yaw.delta_negative, yaw.encode(stack[:, 2], stack[:, 0]).mean(0))
    assert yaw.info.value_range == (0.0, 30.0)
    smile = train_editor(sequences, "smile", short)
    stack = sequences.stack("smile")
    torch.testing.assert_close(smile.delta, smile.encode(stack[:, 0], stack[:, 4]).mean(0))
    assert torch.equal(smile.delta_negative, -smile.delta)  # no other end: α·Δ
    balanced = train_editor(sequences, "yaw", replace(short, negative="symmetric"))
    torch.testing.assert_close(balanced.delta, (yaw.delta - yaw.delta_negative) / 2)
    assert torch.equal(balanced.delta_negative, -balanced.delta)
    scaled = train_editor(sequences, "yaw", replace(short, negative="scale"))
    assert torch.equal(scaled.delta_negative, -scaled.delta)


def test_reach_scales_what_alpha_one_means(sequences: SequenceLatents, config: DeltaConfig) -> None:
    whole = train_editor(sequences, "yaw", replace(config, steps=5))
    half = train_editor(sequences, "yaw", replace(config, steps=5, extent=0.5))
    torch.testing.assert_close(half.delta, 0.5 * whole.delta)
    torch.testing.assert_close(half.delta_negative, 0.5 * whole.delta_negative)
    assert half.info.value_range == (0.0, 15.0)
    ws = sequences.stack("yaw")[0, :3]
    torch.testing.assert_close(half.edit(ws, 1.0), whole.edit(ws, 0.5))
    with pytest.raises(InvalidInputError, match="extent"):
        replace(config, extent=0.0)


def test_an_editor_carries_its_linear_baseline(sequences: SequenceLatents, config: DeltaConfig, tmp_path: Path) -> None:
    editor = train_editor(sequences, "yaw", replace(config, steps=5, extent=0.5), out=tmp_path / "yaw.safetensors")
    baseline = LinearEditor.of(load_editor(tmp_path / "yaw.safetensors"))
    direct = linear_editor(sequences, "yaw", editor.slots, negative=config.negative)
    ws = sequences.stack("yaw")[0, :3]
    for alpha in (-1.0, 1.0):
        expected = direct.edit(ws, 0.5 * alpha)
        torch.testing.assert_close(baseline.edit(ws, alpha), expected, rtol=0, atol=2e-3 * float(expected.abs().max()))


def test_two_identities_are_enough_and_one_is_not(sequences: SequenceLatents, config: DeltaConfig) -> None:
    two = train_editor(sequences, "yaw", replace(config, steps=5, identities=2))
    assert two.info.training["identities"] == 2
    pair = sequences.select(["female", "male"])
    assert _same(two, train_editor(pair, "yaw", replace(config, steps=5)))
    with pytest.raises(InvalidInputError, match="two is the minimum"):
        train_editor(sequences.select(["female"]), "yaw", config)
    with pytest.raises(InvalidInputError, match="needs 7 identities"):
        train_editor(sequences, "yaw", replace(config, identities=7))


def test_unknown_attribute_and_slots_are_named(sequences: SequenceLatents, config: DeltaConfig) -> None:
    with pytest.raises(InvalidInputError, match="there are smile, yaw"):
        train_editor(sequences, "beard", config)
    with pytest.raises(InvalidInputError, match="0 to 5"):
        train_editor(sequences, "yaw", replace(config, slots=(6,)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"dim": 0},
        {"width": 2.5},
        {"lr": float("nan")},
        {"noise_decoder": -1},
        {"loss": "other"},
        {"negative": "other"},
        {"identities": 1},
        {"slots": ()},
        {"lambda_a": 0, "lambda_b": 0},
        {"layers": 99},
    ],
)
def test_config_refuses_nonsense(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        DeltaConfig(**wrong)  # type: ignore[arg-type]


def test_config_round_trips_through_json() -> None:
    config = DeltaConfig(slots=(3, 1), lr=0.5)
    assert DeltaConfig.from_json(config.as_json()) == config
    assert config.slots == (1, 3)
    with pytest.raises(InvalidInputError, match="unknown"):
        DeltaConfig.from_json({**config.as_json(), "unknown": 1})


def _in_old_words(config: DeltaConfig) -> dict[str, object]:
    old = {"extent": "reach", "target_gain": "asked_gain", "target": "asked", "leak": "kept"}
    values = config.as_json()
    values["precise"] = {old.get(name, name): value for name, value in values["precise"].items()}
    return {old.get(name, name): value for name, value in values.items()}


def test_configs_in_the_words_of_version_0_1_are_read() -> None:
    config = DeltaConfig(loss="precise", extent=0.3, precise=PreciseConfig(target_gain=1.7, target=2.0, leak=1.0))
    assert {"reach", "negative"} <= set(_in_old_words(config))
    assert DeltaConfig.from_json(_in_old_words(config)) == config
    assert load_editor("yaw").info.config.extent < 1  # a bundled editor, whose file says reach


def test_an_editor_that_was_trained_in_old_words_counts_as_finished(
    tmp_path: Path, sequences: SequenceLatents, config: DeltaConfig
) -> None:
    short, out = replace(config, steps=3), tmp_path / "yaw.safetensors"
    editor = train_editor(sequences, "yaw", short, out=out)
    settings = editor.info.training["settings"]
    settings["config"]["reach"] = settings["config"].pop("extent")
    editor.save(out)
    assert _same(train_editor(sequences, "yaw", short, out=out), editor)
    with pytest.raises(ResumeError):
        train_editor(sequences, "yaw", replace(short, extent=0.5), out=out)


def test_recommended_slots_exist_in_small_generators() -> None:
    assert recommended_slots("yaw", 4) == (0, 1, 2, 3)
    assert recommended_slots("something else", 3) == (0, 1, 2)
