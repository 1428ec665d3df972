"""Everything that is read of one set of faces: the longest part of an evaluation, and resumable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from deltafast.delta.editor import Editor
from deltafast.evaluation.alike import FacePool, choose_alike
from deltafast.evaluation.change_search import WAYS, ChangedFaces, edited_each, search_changes
from deltafast.evaluation.edit_curves import EditCurves, read_edits
from deltafast.evaluation.face_sets import FaceSet
from deltafast.evaluation.feature_networks import FeatureNetwork
from deltafast.evaluation.matched import Matched, match_methods
from deltafast.evaluation.methods import LINEAR, Method
from deltafast.evaluation.readings import FaceReader, Readings
from deltafast.evaluation.realism import WayFeatures
from deltafast.evaluation.settings import EvaluationSettings
from deltafast.evaluation.synthetic_reference import SyntheticChange
from deltafast.faces.attributes import TARGET_MEASURES

__all__ = ["AttributeRun", "SetReadings", "read_set", "way_features"]

Array = NDArray[np.float64]


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
    """What was read of one set of faces: unedited, and by attribute curves and changes by method, and costs.

    `curves` are of the first faces only (`EvaluationSettings.sweep_faces`), `changed` and `matched` of all.
    """

    faces: FaceSet
    unedited: Readings
    curves: dict[str, dict[str, EditCurves]]
    changed: dict[str, dict[str, ChangedFaces]]
    matched: dict[str, list[Matched]]


def read_set(
    reader: FaceReader,
    faces: FaceSet,
    runs: Sequence[AttributeRun],
    settings: EvaluationSettings,
    *,
    shown: int = 0,
    thumbnails: int = 0,
) -> SetReadings:
    """Edit, synthesise and measure faces with all methods: the first of them along alpha, all of them to each change.

    Of the first `shown` faces thumbnails of so many pixels are kept, edited by ours and LINEAR.
    """
    unedited = reader.read(faces.latents, f"{faces.name}: unedited", features=True)
    curves: dict[str, dict[str, EditCurves]] = {}
    changed: dict[str, dict[str, ChangedFaces]] = {}
    for run in runs:
        curves[run.attribute], changed[run.attribute] = {}, {}
        for method in run.methods:
            title = f"{faces.name}: {run.attribute}, {method.label}"
            if shown and method.name in (run.ours, LINEAR):
                first = faces.latents[:shown]
                read_edits(reader, method.editor, run.attribute, first, description=title, thumbnails=thumbnails)
            some = faces.latents[: settings.sweep_faces]
            curves[run.attribute][method.name] = read_edits(
                reader, method.editor, run.attribute, some, description=title
            )
            changes = settings.changes[run.attribute]
            changed[run.attribute][method.name] = search_changes(
                reader, method.editor, run.attribute, faces.latents, changes, method.change_at_one, title
            )
    matched = {run.attribute: match_methods(changed[run.attribute], run.ours) for run in runs}
    return SetReadings(faces, unedited, curves, changed, matched)


def way_features(
    reader: FaceReader,
    readings: SetReadings,
    run: AttributeRun,
    place: int,
    pool: FacePool,
    network: FeatureNetwork,
) -> list[WayFeatures]:
    """Return the features of the faces compared at the change of this `place`, one for each way.

    Edited faces are those whose reading is nearest to the change.
    """
    matched, changed = readings.matched[run.attribute][place], readings.changed[run.attribute]
    name, sign = TARGET_MEASURES[run.attribute]
    unedited = reader.features(readings.faces.latents, network)  # [N, F]
    result = []
    for column, way in enumerate(WAYS):
        rows = np.flatnonzero(matched.pairs[:, column])
        wanted = readings.unedited.measures[name][rows] + sign * way * matched.change
        first = choose_alike(wanted, pool.measures[name])
        second = choose_alike(wanted, pool.measures[name], taken=first)
        latents = readings.faces.latents[torch.as_tensor(rows)]
        edited = {}
        for method in run.methods:
            if method.name in matched.methods:
                alphas = changed[method.name].alpha[rows, column, place].tolist()
                edited[method.name] = reader.features(edited_each(method.editor, latents, alphas), network)
        known = pool.features[network.key]
        alike, others = (
            np.where((index >= 0)[:, None], known[index], np.nan) for index in (first, second)
        )  # [K, F] each
        result.append(WayFeatures(unedited[rows], alike, others, edited))
    return result
