"""All tables of one set of faces: what was read of it, reduced to figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deltafast.evaluation.alike import FacePool
from deltafast.evaluation.edit_curves import EditCurves
from deltafast.evaluation.identity import between_faces, group_identity, identity_table
from deltafast.evaluation.leak import leak_table
from deltafast.evaluation.matched import Matched
from deltafast.evaluation.precision import precision, requested_and_got
from deltafast.evaluation.range_ends import range_end_table
from deltafast.evaluation.readings import FaceReader, Readings
from deltafast.evaluation.realism import realism_table, unedited_halves
from deltafast.evaluation.set_readings import AttributeRun, SetReadings, way_features
from deltafast.evaluation.turn_floor import turn_floor

__all__ = ["GROUPS", "set_tables"]

# The columns of the paper's tables, and the attributes that they hold.
GROUPS = {
    "Light": ("light", "light-elevation"),
    "Pose": ("yaw", "pitch"),
    "Expression": ("smile", "eyes-closed", "mouth-open", "brows-raised"),
}


def set_tables(
    reader: FaceReader,
    readings: SetReadings,
    runs: Sequence[AttributeRun],
    pool: FacePool,
) -> dict[str, Any]:
    """Return every table of one set of faces, as JSON values."""
    faces = readings.faces
    base = reader.features(faces.latents)  # [N, F]
    attributes: dict[str, Any] = {}
    for run in runs:
        curves = readings.curves[run.attribute]
        swept = faces.labels[: len(curves[run.ours].target())]
        changed = readings.changed[run.attribute]
        attributes[run.attribute] = {
            "changes": [
                _change_table(reader, readings, run, place, pool)
                for place in range(len(readings.matched[run.attribute]))
            ],
            "images_read_to_find_them": {name: one.readings_made for name, one in changed.items()},
            "precision": {method.name: precision(curves[method.name]) for method in run.methods},
            "requested": _requested(curves, run),
            "range_end": range_end_table(curves, run.ours, swept),
        }
    return {
        "faces": {**faces.facts, "count": len(faces.labels), "without_face": readings.unedited.missing},
        "title": faces.title,
        "between_different_faces": between_faces(readings.unedited.descriptors),
        "spread_of_measures": _spread(readings.unedited),
        "unedited_halves": unedited_halves(base) if len(base) >= 4 else None,
        "attributes": attributes,
        "groups": _groups(readings, attributes, runs),
    }


def _change_table(
    reader: FaceReader,
    readings: SetReadings,
    run: AttributeRun,
    place: int,
    pool: FacePool,
) -> dict[str, Any]:
    """Return the figures at one matched change."""
    networks = reader.networks
    matched = readings.matched[run.attribute][place]
    realism = {
        network.key: realism_table(way_features(reader, readings, run, place, pool, network), run.ours)
        for network in networks
    }
    return {
        "change": matched.change,
        "faces_each_way": list(matched.faces_each_way),
        "left_out": list(matched.left_out),
        "brought": matched.brought,
        "turn_itself": turn_floor(run.attribute, matched.change) or None,
        "identity": identity_table(matched, run.ours),
        "leak": leak_table(matched, run.ours),
        "realism": realism[networks[0].key],
        "realism_by_others": {network.key: realism[network.key] for network in networks[1:]},
    }


def _requested(curves: Mapping[str, EditCurves], run: AttributeRun) -> dict[str, Any]:
    if run.reference is None:
        return {}
    return {
        method.name: requested_and_got(curves[method.name], run.reference, method.value_range, method.scale)
        for method in run.methods
        if method.value_range is not None
    }


def _groups(readings: SetReadings, attributes: dict[str, Any], runs: Sequence[AttributeRun]) -> dict[str, Any]:
    """Return the rows of the paper's two tables: each group of attributes, by method.

    Over all changes of its attributes to which every method brings enough faces.
    """
    result: dict[str, Any] = {}
    for group, members in GROUPS.items():
        own = [run for run in runs if run.attribute in members]
        common = [
            (one, attributes[run.attribute]["changes"][place])
            for run in own
            for place, one in enumerate(readings.matched[run.attribute])
            if not one.left_out
        ]
        if not common:
            continue
        rows: dict[str, Any] = {}
        for name in dict.fromkeys(method.name for run in own for method in run.methods):
            identity = group_identity([one for one, _ in common], name)
            if identity is not None:
                against = {f"frechet_{way}": _group_distance(common, way, name) for way in ("alike", "unedited")}
                rows[name] = {"identity": identity, **against}
        result[group] = {
            "attributes": [run.attribute for run in own],
            "changes": [[one.attribute, one.change] for one, _ in common],
            "methods": rows,
        }
    return result


def _group_distance(common: Sequence[tuple[Matched, dict[str, Any]]], against: str, method: str) -> float | None:
    """Return a method's mean Fréchet distance over the changes that have one; None where none has."""
    known = [table["realism"][against][method]["distance"] for _, table in common if table["realism"][against]]
    return float(np.mean(known)) if known and None not in known else None


def _spread(readings: Readings) -> dict[str, Any]:
    table = {}
    for name, values in readings.measures.items():
        kept = values[np.isfinite(values)]
        table[name] = {"mean": float(kept.mean()), "std": float(kept.std())} if len(kept) else None
    return table
