"""Every picture of a report, and the figures that the plots of latents and of Δ come with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from deltafast.errors import InvalidInputError
from deltafast.evaluation.delta_space import DeltaSpace, component_effects, component_latents, delta_space
from deltafast.evaluation.edit_curves import ALPHAS
from deltafast.evaluation.figures.curves import AttributeCurves, plot_alpha, plot_identity
from deltafast.evaluation.figures.latent_plots import path_figures, plot_paths, plot_scatter, plot_spectrum
from deltafast.evaluation.figures.sheets import CELL, component_sheet, edit_sheet
from deltafast.evaluation.identity import between_faces
from deltafast.evaluation.methods import LINEAR
from deltafast.evaluation.set_readings import AttributeRun, SetReadings
from deltafast.evaluation.settings import SCATTER_SEED, EvaluationInputs
from deltafast.generators.seeds import latents_from_seeds

__all__ = ["draw_figures"]


def draw_figures(
    out: Path, inputs: EvaluationInputs, runs: Sequence[AttributeRun], read: Sequence[SetReadings]
) -> dict[str, Any]:
    """Draw all figures into `out`; returns `figures` (file -> caption) and what the plots say in numbers, as JSON."""
    figures: dict[str, str] = {}
    result: dict[str, Any] = {"figures": figures}
    for one in read:
        name = one.faces.name
        shown = [_curves(run, one) for run in runs]
        plot_identity(out / f"{name}-identity.png", shown)
        different = between_faces(one.unedited.descriptors).get("mean")
        beside = "" if different is None else f" Different faces of this run: {different:.3f} on average."
        figures[f"{name}-identity.png"] = (
            f"Identity against attribute change, {one.faces.title}: the descriptor's distance where all methods have "
            f"changed the same faces by the same amount, with its 95 % interval. Lower is better.{beside}"
        )
        plot_alpha(out / f"{name}-alpha.png", shown)
        figures[f"{name}-alpha.png"] = (
            f"What α does, {one.faces.title}: the target measure's change, thin lines for single faces of ours."
        )
        for run in runs if one.faces.shown else ():
            file = f"{name}-{run.attribute}.jpg"
            methods = [m for m in run.methods if m.name in (run.ours, LINEAR)]
            count = inputs.settings.sheet_faces
            labels = one.faces.labels[:count]
            edit_sheet(
                out / file, inputs.reader, run.attribute, methods, one.faces.latents[:count], labels, run.reference
            )
            figures[file] = f"{run.attribute}, {one.faces.title}: ours over LINEAR, the synthetic heads above."
    _latent_figures(out, inputs, runs, read, result)
    return result


def _latent_figures(
    out: Path,
    inputs: EvaluationInputs,
    runs: Sequence[AttributeRun],
    read: Sequence[SetReadings],
    result: dict[str, Any],
) -> None:
    figures, settings = result["figures"], inputs.settings
    faces = read[0].faces.latents[: settings.path_faces]
    plot_paths(out / "paths.png", {run.attribute: run.methods[0].editor for run in runs}, faces)
    figures["paths.png"] = (
        f"Edit paths of {len(faces)} faces under one Δ, α from −2 to 2 (arrowheads), in the first two principal "
        "components: where they lie, and from one start. Dotted: the straight chord."
    )
    result["paths"] = {run.attribute: path_figures(run.methods[0].editor, faces) for run in runs}
    if inputs.sequences is None:
        return
    generator = inputs.generator
    if inputs.sequences.num_ws == generator.num_ws and inputs.sequences.w_dim == generator.w_dim:
        seeds = range(SCATTER_SEED, SCATTER_SEED + settings.scatter_faces)
        samples = latents_from_seeds(generator, seeds, settings.psi)
        result["scatter"] = plot_scatter(out / "scatter.png", samples, inputs.sequences)
        figures["scatter.png"] = (
            "Latents (left) and deltas (right) of sampled faces and of the synthetic heads, first two principal "
            "components of both together. Real deltas: differences of random pairs."
        )
    spaces: dict[str, DeltaSpace] = {}
    moved: dict[str, Tensor] = {}
    result["delta_space"] = {}
    for run in runs:
        if run.editor is None:
            continue
        try:
            space = delta_space(run.editor, inputs.sequences)
        except InvalidInputError:  # the sequences are of another generator, or lack the attribute
            continue
        spaces[run.attribute] = space
        mapped = run.editor.for_generator(generator)
        entry: dict[str, Any] = {
            "deltas": space.count,
            "explained": [float(v) for v in space.explained[:10]],
            "components_for_95_percent": space.needed(0.95),
        }
        if mapped.num_ws == run.editor.num_ws:
            count = min(settings.components, len(space.explained))
            moved[run.attribute] = component_latents(mapped, space, faces[: settings.component_faces], count)
            title = f"components of Δ of {run.attribute}"
            entry["effects"] = component_effects(inputs.reader, moved[run.attribute], title, thumbnails=CELL)
        result["delta_space"][run.attribute] = entry
    if spaces:
        plot_spectrum(out / "spectrum.png", list(spaces.values()))
        figures["spectrum.png"] = "Variance of Δ, over all pairs of frames of all heads, by principal component."
    if moved:
        component_sheet(
            out / "components.jpg", inputs.reader, moved, {name: s.explained.tolist() for name, s in spaces.items()}
        )
        figures["components.jpg"] = "What the first components of Δ do, one standard deviation each way."


def _curves(run: AttributeRun, one: SetReadings) -> AttributeCurves:
    requested = np.full(len(ALPHAS), np.nan)
    method = run.methods[0]
    if run.reference is not None and method.value_range is not None:
        neutral, end = method.value_range
        requested = np.array([run.reference.requested(neutral + alpha * (end - neutral)) for alpha in ALPHAS])
    labels = {method.name: method.label for method in run.methods}
    return AttributeCurves(run.attribute, one.curves[run.attribute], labels, one.matched[run.attribute], requested)
