"""All tables of one set of faces: read every method of every attribute along alpha, and reduce to figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deltafast.delta.editor import Editor
from deltafast.evaluation.edit_curves import EditCurves, edited_latents, extend_weaker, read_edits
from deltafast.evaluation.face_sets import FaceSet
from deltafast.evaluation.identity import between_faces, group_identity, identity_table
from deltafast.evaluation.leak import leak_table
from deltafast.evaluation.matched import Matched, match_editors
from deltafast.evaluation.methods import LINEAR, Method
from deltafast.evaluation.precision import precision, requested_and_got
from deltafast.evaluation.range_ends import range_end_table
from deltafast.evaluation.readings import FaceReader, Readings
from deltafast.evaluation.realism import realism_table, unedited_halves
from deltafast.evaluation.statistics import bootstrap_mean
from deltafast.evaluation.synthetic_reference import SyntheticChange

__all__ = ["GROUPS", "AttributeRun", "SetReadings", "read_set", "set_tables"]

Array = NDArray[np.float64]

# The columns of the paper's tables, and the attributes that they hold.
GROUPS = {
    "Light": ("light", "light-elevation"),
    "Pose": ("yaw", "pitch"),
    "Expression": ("smile", "eyes-closed", "mouth-open", "brows-raised"),
}


@dataclass(frozen=True)
class AttributeRun:
    """What is compared for one attribute: its methods, ours first, and what the synthetic heads say.

    `editor`: the reference editor as it was trained (not mapped to the generator), None where LINEAR stands alone.
    """

    attribute: str
    methods: tuple[Method, ...]
    reference: SyntheticChange | None
    editor: Editor | None = None

    @property
    def ours(self) -> str:
        """The name of the method that the others are compared with."""
        return self.methods[0].name


@dataclass(frozen=True)
class SetReadings:
    """What was read of one set of faces: unedited, and by attribute the curves by method and costs at equal change."""

    faces: FaceSet
    unedited: Readings
    curves: dict[str, dict[str, EditCurves]]
    matched: dict[str, Matched]


def read_set(
    reader: FaceReader, faces: FaceSet, runs: Sequence[AttributeRun], *, shown: int = 0, thumbnails: int = 0
) -> SetReadings:
    """Edit, synthesise and measure all faces with all methods; the longest part of an evaluation, and resumable.

    Of the first `shown` faces thumbnails of so many pixels are kept, edited by ours and LINEAR.
    """
    unedited = reader.read(faces.latents, f"{faces.name}: unedited", features=True)
    curves: dict[str, dict[str, EditCurves]] = {}
    matched: dict[str, Matched] = {}
    for run in runs:
        own: dict[str, EditCurves] = {}
        for method in run.methods:
            title = f"{faces.name}: {run.attribute}, {method.label}"
            if shown and method.name in (run.ours, LINEAR):
                first = faces.latents[:shown]
                read_edits(
                    reader, method.editor, run.attribute, first, description=title, features=True, thumbnails=thumbnails
                )
            ends = read_edits(reader, method.editor, run.attribute, faces.latents, _ENDS, title, features=True)
            inner = read_edits(reader, method.editor, run.attribute, faces.latents, _INNER, title)
            own[method.name] = ends.joined(inner)
        editors = {method.name: method.editor for method in run.methods}
        while more := extend_weaker(own, run.ours):
            for name, alphas in more.items():
                title = f"{faces.name}: {run.attribute}, {name} further"
                further = read_edits(reader, editors[name], run.attribute, faces.latents, alphas, title)
                own[name] = own[name].joined(further)
        curves[run.attribute] = own
        matched[run.attribute] = match_editors(own, run.ours)
    return SetReadings(faces, unedited, curves, matched)


def set_tables(reader: FaceReader, readings: SetReadings, runs: Sequence[AttributeRun]) -> dict[str, Any]:
    """Return every table of one set of faces, as JSON values."""
    faces = readings.faces
    base = reader.features(faces.latents)  # [N, F]
    attributes: dict[str, Any] = {}
    for run in runs:
        matched = readings.matched[run.attribute]
        edited = {method.name: _edited_features(reader, method, faces) for method in run.methods}
        attributes[run.attribute] = {
            "matched": {
                "change": bootstrap_mean(matched.level).as_json(),
                "faces_each_way": list(matched.faces_each_way),
                "left_out": list(matched.left_out),
                "reached": matched.reached,
            },
            "identity": identity_table(matched, run.ours),
            "leak": leak_table(matched, run.ours),
            "precision": {m.name: precision(readings.curves[run.attribute][m.name]) for m in run.methods},
            "requested": _requested(readings.curves[run.attribute], run),
            "range_end": range_end_table(readings.curves[run.attribute], run.ours, faces.labels),
            "realism": realism_table(base, edited, run.ours),
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


_ENDS, _INNER = (-1.0, 0.0, 1.0), (-0.5, 0.5)


def _edited_features(reader: FaceReader, method: Method, faces: FaceSet) -> tuple[Array, Array]:
    edited = edited_latents(method.editor, faces.latents, (-1.0, 1.0))  # [N, 2, L, D]
    return reader.features(edited[:, 0]), reader.features(edited[:, 1])


def _requested(curves: Mapping[str, EditCurves], run: AttributeRun) -> dict[str, Any]:
    if run.reference is None:
        return {}
    return {
        method.name: requested_and_got(curves[method.name], run.reference, method.value_range, method.scale)
        for method in run.methods
        if method.value_range is not None
    }


def _groups(readings: SetReadings, attributes: dict[str, Any], runs: Sequence[AttributeRun]) -> dict[str, Any]:
    """Return the rows of the paper's two tables: each group of attributes, by method."""
    result: dict[str, Any] = {}
    for group, members in GROUPS.items():
        own = [run for run in runs if run.attribute in members]
        names = list(dict.fromkeys(method.name for run in own for method in run.methods))
        rows: dict[str, Any] = {}
        for name in names:
            if any(name not in {method.name for method in run.methods} for run in own):
                continue
            row: dict[str, Any] = {"identity": group_identity([readings.matched[run.attribute] for run in own], name)}
            figures = [attributes[run.attribute]["realism"][name] for run in own]
            for key in ("distance", "extrapolated"):
                known = [figure[key] for figure in figures if figure[key] is not None]
                row[f"frechet_{key}"] = float(np.mean(known)) if len(known) == len(figures) else None
            rows[name] = row
        if rows:
            result[group] = {"attributes": [run.attribute for run in own], "methods": rows}
    return result


def _spread(readings: Readings) -> dict[str, Any]:
    table = {}
    for name, values in readings.measures.items():
        kept = values[np.isfinite(values)]
        table[name] = {"mean": float(kept.mean()), "std": float(kept.std())} if len(kept) else None
    return table
