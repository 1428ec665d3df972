"""The paper's tables and figures over editors and faces: `evaluate` reads everything and writes a report's folder."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deltafast.evaluation.alike import FacePool
from deltafast.evaluation.consistency import (
    image_consistency,
    latent_consistency,
    order_consistency,
    undo_by_encoding,
)
from deltafast.evaluation.face_sets import projection_figures
from deltafast.evaluation.figures.sheets import CELL
from deltafast.evaluation.machine import describe_run
from deltafast.evaluation.markdown import report_page
from deltafast.evaluation.methods import LINEAR, MethodBuilder
from deltafast.evaluation.networks import network_roles
from deltafast.evaluation.published import PUBLISHED
from deltafast.evaluation.report_figures import draw_figures
from deltafast.evaluation.set_readings import AttributeRun, read_set
from deltafast.evaluation.settings import CALIBRATION_SEED, POOL_SEED, RIDGE_SEED, EvaluationInputs
from deltafast.evaluation.statistics import bootstrap_mean
from deltafast.evaluation.synthetic_reference import render_reference
from deltafast.evaluation.tables import set_tables
from deltafast.evaluation.verdicts import verdicts
from deltafast.files import atomic_write, read_json, write_json
from deltafast.generators.seeds import latents_from_seeds

__all__ = ["evaluate"]


def evaluate(out: Path, inputs: EvaluationInputs) -> dict[str, Any]:
    """Measure editors on sets of faces and write `report.json`, `report.md` and the pictures into `out`.

    Everything that is read is kept by the inputs' reader, so the same call goes on where it was stopped. Returns the
    report, JSON values.
    """
    begun = time.perf_counter()
    settings = inputs.settings
    runs = _runs(inputs)
    pool = _pool(inputs)
    read = [
        read_set(
            inputs.reader, faces, runs, settings, shown=settings.sheet_faces if faces.shown else 0, thumbnails=CELL
        )
        for faces in inputs.faces
    ]
    first, *others = inputs.reader.networks
    report: dict[str, Any] = {
        "run": describe_run(),
        "generator": {"name": inputs.generator.name, "fingerprint": inputs.generator.fingerprint},
        "network": {"name": first.name, "is_fid": first.is_fid},
        "other_networks": {network.key: network.name for network in others},
        "networks": network_roles(first.name),
        "settings": {**asdict(settings), "changes": {name: list(at) for name, at in settings.changes.items()}},
        "attributes": {run.attribute: _describe(run) for run in runs},
        "sets": {},
        "published": PUBLISHED,
    }
    for one in read:
        tables = set_tables(inputs.reader, one, runs, pool)
        report["sets"][one.faces.name] = tables
        tables["projection"] = projection_figures(one.faces, inputs.reader, inputs.meter)
    report["consistency"] = _consistency(inputs, runs)
    report |= draw_figures(out, inputs, runs, read)
    report["verdicts"] = verdicts(report["sets"][inputs.faces[0].name], report["attributes"])
    report["seconds"] = round(time.perf_counter() - begun, 1)
    report["images_synthesised"] = inputs.reader.synthesised
    write_json(out / "report.json", report)
    with atomic_write(out / "report.md") as temporary:
        temporary.write_text(report_page(read_json(out / "report.json")), encoding="utf-8")
    return report


def _runs(inputs: EvaluationInputs) -> list[AttributeRun]:
    """Build every attribute's methods: sample and measure for the ridge, set the baselines' lengths."""
    generator, settings = inputs.generator, inputs.settings
    seeds = range(RIDGE_SEED, RIDGE_SEED + settings.ridge_samples)
    samples = latents_from_seeds(generator, seeds, settings.ridge_psi)  # [M, L, D]
    readings = inputs.reader.read(samples, "samples for the ridge")
    seeds = range(CALIBRATION_SEED, CALIBRATION_SEED + settings.calibration_faces)
    calibration = latents_from_seeds(generator, seeds, settings.psi)
    builder = MethodBuilder(
        generator,
        inputs.reader,
        calibration,
        samples[:, 0],
        readings,
        inputs.sequences,
        inputs.directions,
        settings.change_at_one,
    )
    runs = []
    for name in inputs.attributes:
        own = [(label, editor) for label, editor in inputs.editors if editor.attribute == name]
        methods = builder.of_editors(own) if own else builder.of_linear(name, inputs.slots)
        values = own[0][1].values if own else inputs.sequences.attributes[name]  # type: ignore[union-attr]
        reference = render_reference(
            name, tuple(values), inputs.meter, inputs.reader.work / "heads", processes=inputs.processes
        )
        runs.append(AttributeRun(name, tuple(methods), reference, own[0][1] if own else None))
    return runs


def _pool(inputs: EvaluationInputs) -> FacePool:
    """Read the sampled faces among which those are chosen that have a pose, an expression or a light anyway."""
    seeds = range(POOL_SEED, POOL_SEED + inputs.settings.pool_faces)
    latents = latents_from_seeds(inputs.generator, seeds, inputs.settings.psi)
    reader = inputs.reader
    measures = reader.read(latents, "faces to compare with", features=True).measures
    return FacePool(measures, {network.key: reader.features(latents, network) for network in reader.networks})


def _describe(run: AttributeRun) -> dict[str, Any]:
    return {
        "methods": {method.name: method.as_json() for method in run.methods},
        "ours": run.ours,
        "values": None if run.methods[0].value_range is None else list(run.methods[0].value_range),
        "synthetic": None
        if run.reference is None
        else {
            "unit": run.reference.unit,
            "values": list(run.reference.values),
            "change": [[None if v != v else v for v in row] for row in run.reference.change.tolist()],
        },
    }


def _consistency(inputs: EvaluationInputs, runs: list[AttributeRun]) -> dict[str, Any]:
    """Return the consistency table of the first faces: in latents for ours and LINEAR, in images for ours."""
    faces = inputs.faces[0].latents[: inputs.settings.consistency_faces]
    result: dict[str, Any] = {"faces": len(faces), "latents": {}}
    for run in runs:
        table: dict[str, Any] = {}
        for method in run.methods:
            if method.name not in (run.ours, LINEAR):
                continue
            figures = {
                name: bootstrap_mean(values) for name, values in latent_consistency(method.editor, faces).items()
            }
            if method.name == run.ours and run.editor is not None and inputs.sequences is not None:
                undone = undo_by_encoding(run.editor.to(faces.device), inputs.sequences, faces)
                if undone is not None:
                    figures["undo_by_encoding"] = bootstrap_mean(undone)
            table[method.name] = {name: interval.as_json() for name, interval in figures.items()}
            table[method.name]["order"] = {
                other.attribute: bootstrap_mean(order_consistency(method.editor, counterpart.editor, faces)).as_json()
                for other in runs
                for counterpart in other.methods
                if other is not run and counterpart.name == (LINEAR if method.name == LINEAR else other.ours)
            }
        result["latents"][run.attribute] = table
    first = {run.attribute: run.methods[0].editor for run in runs}
    result["images"] = image_consistency(inputs.reader, first, faces, "consistency of edits")
    return result
