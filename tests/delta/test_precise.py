"""loss="precise": edits become better on faces, a stopped training ends with the same bits, misuse is told."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sequences import make_sequences

from deltafast.delta import DeltaConfig, Editor, PreciseConfig, load_editor, train_editor, training
from deltafast.delta import precise_step as step_module
from deltafast.delta.face_feedback import FaceFeedback
from deltafast.delta.training import loss_files
from deltafast.delta.training_state import state_path
from deltafast.errors import InvalidInputError, ResumeError
from deltafast.faces.true_degrees import DEGREES_READ
from deltafast.generators.base import Generator
from deltafast.sequence_latents import GeneratorId, SequenceLatents, load_latents

SMALL = PreciseConfig(steps=6, edits=2, faces=4, lr=2e-3)


HELD = {"unit": "degree", "by": [-20.0, 21.5], "alpha": [-1.0, 1.0], "faces": 2}


@pytest.fixture(autouse=True)
def _range_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """How far editors hold is not measured: that takes longer than these trainings, and has its own test."""
    monkeypatch.setattr(training, "measure_range", lambda *_: dict(HELD))


@pytest.fixture
def small_sequences(tiny_generator: Generator) -> SequenceLatents:
    """Made-up sequences in the W+ of the small generator."""
    return make_sequences(
        num_ws=tiny_generator.num_ws, w_dim=tiny_generator.w_dim, generator=GeneratorId.of(tiny_generator)
    )


@pytest.fixture
def precise(config: DeltaConfig) -> DeltaConfig:
    return replace(config, steps=20, loss="precise", precise=SMALL)


def _same(first: Editor, second: Editor) -> bool:
    a, b = first.state_dict(), second.state_dict()
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.usefixtures("loss_networks")
def test_a_stopped_second_stage_goes_on_to_the_same_weights(
    tmp_path: Path,
    tiny_generator: Generator,
    small_sequences: SequenceLatents,
    precise: DeltaConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "stopped" / "yaw.safetensors"
    advance = step_module.PreciseStep.advance

    def stop(training: step_module.PreciseStep) -> None:
        if int(training.step) == 4:
            raise KeyboardInterrupt
        advance(training)

    with monkeypatch.context() as patch:
        patch.setattr(step_module.PreciseStep, "advance", stop)
        with pytest.raises(KeyboardInterrupt):
            train_editor(small_sequences, "yaw", precise, out=out, generator=tiny_generator, save_every=10)
    assert state_path(out).exists()
    steps: list[int] = []

    def count(training: step_module.PreciseStep) -> None:
        steps.append(int(training.step))
        advance(training)

    with monkeypatch.context() as patch:
        patch.setattr(step_module.PreciseStep, "advance", count)
        resumed = train_editor(small_sequences, "yaw", precise, out=out, generator=tiny_generator, save_every=10)
    assert steps == [4, 5]  # neither the first stage nor what was done of the second is done again
    whole = train_editor(small_sequences, "yaw", precise, out=tmp_path / "whole.safetensors", generator=tiny_generator)
    assert _same(resumed, whole)
    assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert loss_files(out)[0].read_text() == loss_files(tmp_path / "whole.safetensors")[0].read_text()
    assert len(loss_files(out)[0].read_text().splitlines()) == 1 + 20 + 6
    assert load_editor(out).info.config == replace(precise, identities=len(small_sequences.identities))
    assert load_editor(out).info.training["range"] == HELD  # what `deltafast editors` prints
    assert not _same(whole, train_editor(small_sequences, "yaw", replace(precise, loss="paper", precise=None)))


@pytest.mark.gpu
@pytest.mark.usefixtures("loss_networks")
def test_it_trains_on_a_gpu_too(
    tiny_generator: Generator, small_sequences: SequenceLatents, precise: DeltaConfig
) -> None:
    generator = copy.deepcopy(tiny_generator).to("cuda")
    editor = train_editor(small_sequences, "yaw", precise, device="cuda", generator=generator)
    assert editor.delta.device.type == "cpu"
    assert editor.info.training["precise"]["steps"] == SMALL.steps


@pytest.mark.usefixtures("loss_networks")
def test_another_generator_is_another_training(
    tmp_path: Path, tiny_generator: Generator, small_sequences: SequenceLatents, precise: DeltaConfig
) -> None:
    out = tmp_path / "yaw.safetensors"
    train_editor(small_sequences, "yaw", precise, out=out, generator=tiny_generator)
    tuned = copy.deepcopy(tiny_generator)
    tuned.fingerprint = "2" * 64
    with pytest.raises(ResumeError, match="other settings"):
        train_editor(small_sequences, "yaw", precise, out=out, generator=tuned)


def test_the_generator_must_be_that_of_the_latents(
    tiny_generator: Generator, small_sequences: SequenceLatents, sequences: SequenceLatents, precise: DeltaConfig
) -> None:
    with pytest.raises(InvalidInputError, match="need the latents' generator"):
        train_editor(small_sequences, "yaw", precise)
    with pytest.raises(InvalidInputError, match="the generator takes"):
        train_editor(sequences, "yaw", precise, generator=tiny_generator)
    other = replace(small_sequences, generator=GeneratorId("other", "1" * 64, "other-w"))
    with pytest.raises(InvalidInputError, match="other"):
        train_editor(other, "yaw", precise, generator=tiny_generator)


@pytest.mark.usefixtures("loss_networks")
def test_true_degrees_are_asked_for_of_turns_alone(
    tiny_generator: Generator, small_sequences: SequenceLatents, precise: DeltaConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets: list[tuple[str, float]] = []

    def note(feedback: FaceFeedback, ws: torch.Tensor, *_: object) -> torch.Tensor:
        targets.append((feedback.measure, feedback.target))
        return 0 * ws.sum()

    monkeypatch.setattr(FaceFeedback, "loss", note)
    asking = replace(precise, extent=0.5, precise=replace(SMALL, steps=1, faces=2, degrees=True))
    train_editor(small_sequences, "yaw", asking, generator=tiny_generator)
    name, target = targets[0]
    assert name == "yaw"
    assert target == pytest.approx(15 * DEGREES_READ["mesh"]["yaw"])  # half of the way to 30, as the mesh reads it
    with pytest.raises(InvalidInputError, match="read in degrees, not for 'smile'"):
        train_editor(small_sequences, "smile", asking, generator=tiny_generator)
    assert "degrees" not in precise.as_json()["precise"]  # settings of earlier trainings stay what they were
    assert DeltaConfig.from_json(asking.as_json()) == asking


def test_settings_out_of_range_are_refused_and_others_survive_json() -> None:
    for wrong in ({"steps": 0}, {"faces": 1}, {"edits": True}, {"leak": -1.0}, {"lr": float("nan")}, {"psi_low": 2.0}):
        with pytest.raises(InvalidInputError):
            PreciseConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="precise"):
        DeltaConfig(precise=SMALL)
    assert DeltaConfig(loss="precise").precise == PreciseConfig()
    for config in (DeltaConfig(), DeltaConfig(loss="precise", precise=SMALL)):
        assert DeltaConfig.from_json(config.as_json()) == config
    with pytest.raises(InvalidInputError, match="fields differ"):
        DeltaConfig.from_json(DeltaConfig(loss="precise").as_json() | {"precise": {"steps": 3}})
    assert "precise" not in DeltaConfig().as_json()  # editors of the first version can be read


@pytest.fixture
def precise_flow(precise: DeltaConfig) -> DeltaConfig:
    return replace(precise, form="flow", precise=replace(SMALL, steps=40, faces=2, lr=5e-3))


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The |alpha| of all edits that a second stage would look at; it does not, for the networks take long."""
    amounts: list[float] = []

    def note(_: FaceFeedback, ws: torch.Tensor, face: int, amount: float) -> torch.Tensor:
        amounts.append(abs(amount))
        return 0 * ws.sum()

    monkeypatch.setattr(FaceFeedback, "loss", note)
    return amounts


@pytest.mark.usefixtures("loss_networks")
def test_edits_are_looked_at_as_far_as_asked(
    tiny_generator: Generator, small_sequences: SequenceLatents, precise_flow: DeltaConfig, looked_at: list[float]
) -> None:
    assert precise_flow.precise is not None
    for far in (1.0, 3.0):
        looked_at.clear()
        config = replace(precise_flow, precise=replace(precise_flow.precise, far=far))
        assert DeltaConfig.from_json(config.as_json()) == config
        train_editor(small_sequences, "yaw", config, generator=tiny_generator)
        assert len(looked_at) == 40 * 2  # steps, edits
        assert 0.8 * far < max(looked_at) <= far


@pytest.mark.usefixtures("loss_networks", "looked_at")
def test_a_flow_learns_to_commute_with_another(
    tmp_path: Path, tiny_generator: Generator, small_sequences: SequenceLatents, precise_flow: DeltaConfig
) -> None:
    paper = replace(precise_flow, loss="paper", precise=None, steps=60)
    smile = train_editor(small_sequences, "smile", replace(paper, negative="scale"))
    ws = small_sequences.stack("yaw")[:, 2]  # [K, num_ws, w_dim]
    apart, out = {}, tmp_path / "yaw.safetensors"
    assert precise_flow.precise is not None
    for weight in (0.0, 30.0):
        config = replace(precise_flow, steps=60, precise=replace(precise_flow.precise, commute=weight))
        yaw = train_editor(
            small_sequences, "yaw", config, generator=tiny_generator, commuting=[smile], out=out, restart=True
        )
        one, other = smile.edit(yaw.edit(ws, 0.7), 0.7), yaw.edit(smile.edit(ws, 0.7), 0.7)
        apart[weight] = float((one - other).norm() / (yaw.edit(ws, 0.7) - ws).norm())
    assert apart[30.0] < 0.8 * apart[0.0], apart
    with pytest.raises(ResumeError, match="other settings"):
        train_editor(small_sequences, "yaw", config, generator=tiny_generator, out=out)
    jump = train_editor(small_sequences, "smile", replace(paper, form="jump", steps=2))
    with pytest.raises(InvalidInputError, match="smile is a jump"):
        train_editor(small_sequences, "yaw", config, generator=tiny_generator, commuting=[jump])


@pytest.mark.usefixtures("loss_networks")
def test_sequences_that_change_no_face_are_refused(
    tiny_generator: Generator, small_sequences: SequenceLatents, precise: DeltaConfig
) -> None:
    frames = small_sequences.stack("yaw")  # [K, n, num_ws, w_dim]
    still = frames[:, 2:3].expand_as(frames)
    with pytest.raises(InvalidInputError, match="change nothing"):
        FaceFeedback(tiny_generator, still, torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]), SMALL, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("loss_networks")
def test_real_edits_come_nearer_to_what_is_asked(mobilestylegan: Generator, repository_root: Path) -> None:
    latents = load_latents(repository_root / "deltafast/assets/latents/two-heads.safetensors")
    settings = PreciseConfig(steps=8, edits=2, faces=6, lr=2e-3)
    config = DeltaConfig(steps=60, loss="precise", precise=settings)
    editors = {
        "precise": train_editor(latents, "smile", config, generator=mobilestylegan),
        "paper": train_editor(latents, "smile", replace(config, loss="paper", precise=None)),
    }
    values = torch.tensor(latents.attributes["smile"])
    feedback = FaceFeedback(mobilestylegan, latents.stack("smile"), values, settings, 0)
    assert feedback.measure == "mouth_width"
    assert feedback.target > 0
    loss = {
        name: sum(float(feedback.loss(editor.edit(feedback.faces[k : k + 1], 0.7), k, 0.7).detach()) for k in range(6))
        for name, editor in editors.items()
    }
    assert loss["precise"] < 0.9 * loss["paper"]


def test_what_nothing_reads_is_not_asked_for(
    tiny_generator: Generator, small_sequences: SequenceLatents, precise: DeltaConfig
) -> None:
    latents = {("age", name): small_sequences.latents["yaw", name] for name in small_sequences.identities}
    aged = replace(small_sequences, attributes={"age": small_sequences.attributes["yaw"]}, latents=latents)
    with pytest.raises(InvalidInputError, match="no network here reads age"):
        train_editor(aged, "age", precise, generator=tiny_generator)
