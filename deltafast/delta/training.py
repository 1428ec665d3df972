"""Training of E and D on projected sequences: seeded, resumable to the same bits, one editor file at the end."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deltafast.arguments import check_count, check_device
from deltafast.delta.amounts import UNITS, UNREAD, in_degrees
from deltafast.delta.apart import apart_from
from deltafast.delta.config import DeltaConfig, current_words, recommended_slots
from deltafast.delta.editor import Editor, EditorInfo, ends_of, load_editor
from deltafast.delta.editor_file import round_weights, tensors_digest
from deltafast.delta.face_feedback import FaceFeedback
from deltafast.delta.flow import ChartEncoder, FlowDecoder
from deltafast.delta.flow_step import FlowTrainingStep, split_flat
from deltafast.delta.linear import both_directions, linear_editor
from deltafast.delta.measured_range import RANGE_FACES, measure_range
from deltafast.delta.precise_step import PreciseStep
from deltafast.delta.slots import check_slots
from deltafast.delta.training_state import Stage, TrainingState, load_training, save_training, state_path
from deltafast.delta.training_step import TrainingStep
from deltafast.errors import InvalidInputError, ResumeError
from deltafast.files import atomic_write
from deltafast.generators.base import Generator
from deltafast.generators.w_statistics import WStatistics
from deltafast.ops import DeltaSizes, weight_shapes
from deltafast.progress import track
from deltafast.sequence_latents import GeneratorId, SequenceLatents

__all__ = ["loss_files", "train_editor"]

_SAVE_EVERY = 100  # steps; a kill loses a few seconds at most


def train_editor(
    latents: SequenceLatents,
    attribute: str,
    config: DeltaConfig | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    restart: bool = False,
    device: torch.device | str = "cpu",
    save_every: int = _SAVE_EVERY,
    plot: bool = True,
    generator: Generator | None = None,
    commuting: Sequence[Editor] = (),
) -> Editor:
    """Train E and D for one attribute on `device` and return the editor, on the CPU; `out` is its file.

    With `loss="precise"` a second stage follows, which looks at the images that edits give; it needs the `generator` of
    the latents, on whose device it runs, and takes minutes on a CPU. There a flow can learn to commute with other
    flows, `commuting`: so that it does not matter which of them is applied first. `config.without` needs the generator
    too, for the distribution of its W.

    With `out`, the state is kept beside it (`<out>.state`) while training lasts: a call that was interrupted goes on
    from there and ends with the same weights, to the bit, on the same machine and device. An
    `out` that is finished with the same settings is returned as it is. Left beside it: `<stem>-loss.csv` and, with
    `plot`, `<stem>-loss.png`. `restart` forgets what was there.

    Raises `InvalidInputError` for an attribute or slots that are not there and for a missing or another generator,
    `DownloadError` where the networks of loss="precise" cannot be fetched, `ResumeError` when `out` was begun with
    other settings or latents, `DiskError` where files cannot be written.
    """
    config = config or DeltaConfig()
    chosen, config = _resolve(latents, attribute, config)
    if config.precise is not None and config.precise.degrees and not in_degrees(attribute):
        raise InvalidInputError(f"precise.degrees is for attributes that are read in degrees, not for {attribute!r}")
    if config.precise is not None and attribute in UNREAD:
        raise InvalidInputError(f'no network here reads {attribute} off a picture, so loss="precise" cannot ask for it')
    place = check_device(device)
    check_count("save_every", save_every, 1)
    settings: dict[str, Any] = {"config": config.as_json(), "latents": chosen.digest(attribute)}
    if config.precise is not None or config.without:
        generator = _checked_generator(generator, latents)
        settings["generator"] = generator.fingerprint
    if config.without:
        assert generator is not None
        settings["apart from"] = {other: chosen.digest(other) for other in config.without}
        chosen = apart_from(chosen, attribute, config.without, WStatistics.of(generator))
    if commuting:
        settings["commuting"] = _checked_commuting(commuting, latents, config)
    target = None if out is None else Path(out)
    if target is not None and target.is_dir():
        raise InvalidInputError(f"{target} is a folder; an editor is one file, such as {target / 'yaw.safetensors'}")
    if target is not None and restart:
        for path in (target, state_path(target), *loss_files(target)):
            path.unlink(missing_ok=True)
    if target is not None and target.exists():
        return _finished(target, settings)

    slots = config.slots or ()
    stack = chosen.stack(attribute)[:, :, list(slots)]  # [K, n, S, w_dim]
    editor = _initial(chosen, attribute, config, stack)
    x = editor.normalisation(stack.flatten(0, 1))  # [S, K n, w_dim]
    x = x.reshape(len(slots), *stack.shape[:2], -1).contiguous().to(place)  # [S, K, n, w_dim]
    parameters = dict(editor.named_parameters())
    shapes = _weight_shapes(editor)
    flat = torch.cat([parameters[name].detach().flatten() for name in shapes])
    state = load_training(state_path(target), settings) if target is not None else None

    keeper = None if target is None else _Keeper(state_path(target), settings, save_every)
    if state is None or state.stage == 0:
        first = _first_stage(editor, flat.to(place), x)
        _run(first, 0, f"training {attribute}", state, keeper)
        weights, losses = first.weights, first.losses.cpu()
    else:
        weights, losses = state.tensors["weights"], state.earlier_losses
    feedback = None
    if config.precise is not None:
        assert generator is not None
        amounts = _amounts(editor)
        others = [other.for_generator(generator) for other in commuting]
        stack = chosen.stack(attribute)
        feedback = FaceFeedback(generator, stack, amounts, config.precise, config.seed, _asked(editor))
        second = PreciseStep(weights, editor.to(generator.device), x, config, feedback, shapes, others)
        _run(second, 1, f"training {attribute} through the generator", state, keeper, losses)
        weights, losses = second.weights, torch.cat([losses, second.losses])
        editor.cpu()
    with torch.no_grad():
        for name, trained in split_flat(weights.detach().cpu(), shapes).items():
            parameters[name].copy_(trained)
    _finish(editor, chosen, attribute, settings, losses.tolist())
    if feedback is not None:
        assert generator is not None
        held = measure_range(editor.to(generator.device), generator, feedback.faces[:RANGE_FACES])
        editor.cpu()
        if held is not None:
            editor.info.training["range"] = held
    if target is not None:
        _write_losses(target, losses.tolist(), config.steps, attribute, plot)
        editor.save(target)
        state_path(target).unlink(missing_ok=True)
    return editor


def _weight_shapes(editor: Editor) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight, in the order in which training's flat tensor holds them."""
    config = editor.info.config
    if config.form == "jump":
        sizes = DeltaSizes(len(editor.slots), editor.w_dim, config.width, config.layers, config.dim)
        return weight_shapes(sizes)
    return {name: tuple(parameter.shape) for name, parameter in editor.named_parameters()}


def _first_stage(editor: Editor, weights: Tensor, x: Tensor) -> TrainingStep:
    encoder, decoder, config = editor.encoder, editor.decoder, editor.info.config
    if isinstance(encoder, ChartEncoder) and isinstance(decoder, FlowDecoder):
        return FlowTrainingStep(weights, x, config, encoder, decoder)
    return TrainingStep(weights, x, config)


def loss_files(out: Path) -> tuple[Path, Path]:
    """Return where training leaves its losses for an editor file: (CSV, PNG)."""
    return out.with_name(f"{out.stem}-loss.csv"), out.with_name(f"{out.stem}-loss.png")


@dataclass(frozen=True)
class _Keeper:
    """Where and how often the state of an unfinished training is kept."""

    path: Path
    settings: dict[str, Any]
    every: int  # steps of the first stage; one of the second takes at least ten times as long


def _run(
    stage: Stage,
    number: int,
    words: str,
    state: TrainingState | None,
    keeper: _Keeper | None,
    earlier_losses: Tensor | None = None,
) -> None:
    """Make all steps of a stage, or those that `state`, where it is of this stage, leaves."""
    if state is not None and state.stage == number:
        state.restore(stage)
    steps = len(stage.losses)
    every = _SAVE_EVERY if keeper is None else keeper.every
    every = max(1, every // 10) if number else every
    for step in track(range(int(stage.step), steps), words):
        stage.advance()
        done = step + 1
        if done % every == 0 or done == steps:
            _check_losses(stage.losses[:done])
            if keeper is not None and done < steps:
                save_training(keeper.path, keeper.settings, TrainingState.of(stage, number, earlier_losses))


def _resolve(latents: SequenceLatents, attribute: str, config: DeltaConfig) -> tuple[SequenceLatents, DeltaConfig]:
    """Check what is asked for against what is there; return the latents to use and the config with its slots."""
    latents.stack(attribute)
    count = len(latents.identities) if config.identities is None else config.identities
    if not 2 <= count <= len(latents.identities):
        raise InvalidInputError(
            f"training needs {max(count, 2)} identities, the latents hold {len(latents.identities)}; two is the minimum"
        )
    slots = recommended_slots(attribute, latents.num_ws) if config.slots is None else config.slots
    resolved = replace(config, slots=check_slots(slots, latents.num_ws), identities=count)
    return latents.select(latents.identities[:count]), resolved


def _initial(latents: SequenceLatents, attribute: str, config: DeltaConfig, stack: Tensor) -> Editor:
    slots = config.slots or ()
    values = tuple(latents.attributes[attribute])
    info = EditorInfo(attribute, values, latents.num_ws, latents.w_dim, slots, latents.generator, config)
    editor = Editor(info)
    editor.normalisation.fit(stack.flatten(0, 1))
    generator = torch.Generator().manual_seed(config.seed)
    editor.encoder.initialise(generator)
    editor.decoder.initialise(generator)
    return editor


def _checked_generator(generator: Generator | None, latents: SequenceLatents) -> Generator:
    if generator is None:
        raise InvalidInputError(
            'loss="precise" and without= need the latents\' generator: train_editor(..., generator=...)'
        )
    if (generator.num_ws, generator.w_dim) != (latents.num_ws, latents.w_dim):
        raise InvalidInputError(
            f"the latents are [{latents.num_ws}, {latents.w_dim}], the generator takes "
            f"[{generator.num_ws}, {generator.w_dim}]"
        )
    own, other = latents.generator, GeneratorId.of(generator)
    if own.w_space != other.w_space and own.fingerprint != other.fingerprint:
        raise InvalidInputError(f"the latents are {own.name}'s (W space {own.w_space}), not {other.name}'s")
    return generator


def _checked_commuting(commuting: Sequence[Editor], latents: SequenceLatents, config: DeltaConfig) -> list[str]:
    """Return by what a training knows the editors with which it should commute: a digest of each."""
    if config.form != "flow" or config.precise is None:
        raise InvalidInputError('commuting is for form="flow" and loss="precise"')
    digests = []
    for other in commuting:
        if other.info.config.form != "flow" or (other.num_ws, other.w_dim) != (latents.num_ws, latents.w_dim):
            raise InvalidInputError(
                f"commuting takes flows on [{latents.num_ws}, {latents.w_dim}]; {other.attribute} is a "
                f"{other.info.config.form} on [{other.num_ws}, {other.w_dim}]"
            )
        digests.append(tensors_digest(other.state_dict()))
    return digests


def _amounts(editor: Editor) -> Tensor:
    """The α of each training frame, `[n]`."""
    values = torch.tensor(editor.values)
    neutral, end, _ = ends_of(editor.values)
    return (values - values[neutral]) / (values[end] - values[neutral]) / editor.info.config.extent


def _asked(editor: Editor) -> tuple[str, float] | None:
    """The measure and its change by α = 1, where training asks for true degrees."""
    assert editor.info.config.precise is not None
    if not editor.info.config.precise.degrees:
        return None
    unit = UNITS[editor.attribute]
    start, end = editor.info.value_range
    return unit.measure, (end - start) / unit.factor


def _check_losses(losses: Tensor) -> None:
    finite = torch.isfinite(losses)
    if not bool(finite.all()):
        step = int((~finite).nonzero()[0])
        raise InvalidInputError(f"training diverged at step {step} (loss {float(losses[step])}); use a smaller lr")


def _finish(
    editor: Editor, latents: SequenceLatents, attribute: str, settings: dict[str, Any], losses: list[float]
) -> None:
    """Round the weights as the file holds them, take the Δ of α = ±1, and note how the editor came about."""
    round_weights(editor)
    editor.eval().requires_grad_(False)
    stack = latents.stack(attribute)  # [K, n, num_ws, w_dim]
    neutral, end, opposite = ends_of(editor.values)
    config = editor.info.config
    forwards = editor.encode(stack[:, neutral], stack[:, end]).mean(0)  # [num_ws, dim]
    backwards = None if opposite is None else editor.encode(stack[:, neutral], stack[:, opposite]).mean(0)
    forwards, backwards = both_directions(forwards, backwards, config.negative)
    editor.delta.copy_(config.extent * forwards)
    editor.delta_negative.copy_(config.extent * backwards)
    linear = linear_editor(latents, attribute, editor.slots, negative=config.negative)
    both = torch.stack([linear.direction, linear.negative], 1)[list(editor.slots)]  # [S, 2, w_dim]
    editor.linear_directions.copy_((config.extent * both).half())
    training = {
        "identities": len(latents.identities),
        **_final(losses[: config.steps]),
        "sequences": latents.source,
        "settings": settings,
        "torch": torch.__version__,
    }
    if config.precise is not None:
        training["precise"] = _final(losses[config.steps :])
    editor.info = replace(editor.info, training=training)


def _final(losses: list[float]) -> dict[str, Any]:
    """Number of steps of a stage, and the loss at its end: the mean of its last twentieth."""
    tail = losses[-max(1, len(losses) // 20) :]
    return {"steps": len(losses), "loss": round(sum(tail) / len(tail), 6)}


def _finished(target: Path, settings: dict[str, Any]) -> Editor:
    editor = load_editor(target)
    if current_words(editor.info.training.get("settings") or {}) != settings:
        raise ResumeError(
            f"{target} is an editor trained with other settings or latents; choose another --out, or pass --restart "
            "to train it anew"
        )
    return editor


def _write_losses(target: Path, losses: list[float], first: int, attribute: str, plot: bool) -> None:
    """Write the losses of both stages, of which the first has `first` steps."""
    table, picture = loss_files(target)
    with atomic_write(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["step", "loss"])
        writer.writerows((step, f"{loss:.6g}") for step, loss in enumerate(losses))
    if not plot:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    stages = [(losses[:first], "loss (in units of the latents' variance)")]
    if len(losses) > first:
        stages.append((losses[first:], "loss on faces and latents"))
    for axes, (values, unit) in zip(figure.subplots(1, len(stages), squeeze=False)[0], stages, strict=True):
        axes.semilogy(range(len(values)), values, linewidth=0.6, alpha=0.5)
        window = max(1, len(values) // 50)
        means = [sum(values[k : k + window]) / len(values[k : k + window]) for k in range(0, len(values), window)]
        axes.semilogy([k + window / 2 for k in range(0, len(values), window)], means)
        axes.set(xlabel="step", ylabel=unit)
    figure.suptitle(f"E and D: {attribute}")
    with atomic_write(picture) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": ""})
