"""What an evaluation is given, and how much it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deltafast.delta.editor import Editor
from deltafast.errors import InvalidInputError
from deltafast.evaluation.changes import CHANGE_AT_ONE, MATCHED_CHANGES
from deltafast.evaluation.face_sets import FaceSet
from deltafast.evaluation.methods import UserDirection
from deltafast.evaluation.readings import FaceReader
from deltafast.faces.attributes import TARGET_MEASURES
from deltafast.faces.meter import FaceMeter
from deltafast.generators.base import Generator
from deltafast.sequence_latents import SequenceLatents

__all__ = ["CALIBRATION_SEED", "POOL_SEED", "RIDGE_SEED", "SCATTER_SEED", "EvaluationInputs", "EvaluationSettings"]

# first seeds of faces that no report shows
RIDGE_SEED, CALIBRATION_SEED, SCATTER_SEED, POOL_SEED = 10_000, 30_000, 40_000, 50_000


@dataclass(frozen=True)
class EvaluationSettings:
    """How much is read beside the faces themselves.

    `sweep_faces`: of the reported ones, those that are read along alpha, all of them being brought to the matched
    changes; `changes`: these by attribute, and `change_at_one` what plain directions change at alpha = 1; `pool_faces`:
    sampled faces, at truncation `psi`, among which those are chosen that have a pose or expression anyway;
    `calibration_faces`: on which the baselines' lengths are set, at truncation `psi`; `ridge_samples`: faces that the
    ridge is fitted to, at truncation `ridge_psi`; `consistency_faces`, `sheet_faces`, `path_faces`: of the reported
    ones; `components` of Δ and the `component_faces` that they are shown on; `scatter_faces`: sampled latents of the
    scatter plots.
    """

    psi: float = 0.7
    sweep_faces: int = 64
    changes: Mapping[str, tuple[float, ...]] = field(default_factory=MATCHED_CHANGES.copy)
    change_at_one: Mapping[str, float] = field(default_factory=CHANGE_AT_ONE.copy)
    pool_faces: int = 1000
    calibration_faces: int = 12
    ridge_samples: int = 1000
    ridge_psi: float = 1.0
    consistency_faces: int = 24
    sheet_faces: int = 6
    path_faces: int = 5
    components: int = 3
    component_faces: int = 4
    scatter_faces: int = 1000

    @classmethod
    def quick(cls) -> EvaluationSettings:
        """Return settings that show every table and figure within minutes; such a report's figures say little."""
        return cls(
            sweep_faces=3,
            calibration_faces=2,
            pool_faces=24,
            ridge_samples=24,
            consistency_faces=2,
            sheet_faces=2,
            components=2,
            component_faces=2,
        )

    def reserved(self) -> set[int]:
        """Return the seeds of faces that reported ones are compared with in some way, which must not be reported."""
        return {
            *range(RIDGE_SEED, RIDGE_SEED + self.ridge_samples),
            *range(CALIBRATION_SEED, CALIBRATION_SEED + self.calibration_faces),
            *range(POOL_SEED, POOL_SEED + self.pool_faces),
        }


@dataclass(frozen=True)
class EvaluationInputs:
    """What is judged, on what, and by whom.

    `editors`: named; those of one attribute are compared with the first of them. `linear_of`: attributes of which
    LINEAR is judged alone, in `slots` (None: the recommended ones). `faces`: sets of them, reported one by one.
    `sequences`: projected heads for LINEAR of two heads, Δ-space and scatter plots, or None. `directions`: other
    people's. `processes`: how many render the synthetic reference. Raises `InvalidInputError` where nothing is to be
    compared, an attribute cannot be measured, or a face is one that others are fitted to or compared with.
    """

    generator: Generator
    reader: FaceReader
    meter: FaceMeter
    faces: Sequence[FaceSet]
    editors: Sequence[tuple[str, Editor]] = ()
    linear_of: Sequence[str] = ()
    slots: Sequence[int] | None = None
    sequences: SequenceLatents | None = None
    directions: Sequence[UserDirection] = ()
    settings: EvaluationSettings = field(default_factory=EvaluationSettings)
    processes: int = 1

    def __post_init__(self) -> None:
        names = self.attributes
        unknown = [name for name in names if name not in TARGET_MEASURES]
        if unknown:
            raise InvalidInputError(f"no measure for attribute {unknown[0]!r}; there are {', '.join(TARGET_MEASURES)}")
        if not names or not self.faces:
            raise InvalidInputError("an evaluation needs at least one editor and one set of faces")
        if not self.reader.networks:
            raise InvalidInputError("realism is judged by a network's features: the reader needs one")
        if len({one.name for one in self.faces}) != len(self.faces):
            raise InvalidInputError("each set of faces needs a name of its own")
        reported = {seed for one in self.faces for seed in one.facts.get("seeds", ())}
        taken = reported & self.settings.reserved()
        if taken:
            raise InvalidInputError(
                f"seed {min(taken)} is among those that baselines are fitted to or faces are compared with; report "
                "others"
            )
        missing = [one.attribute for one in self.directions if one.attribute not in names]
        if missing:
            raise InvalidInputError(f"a direction for {missing[0]!r} needs an editor of that attribute to stand beside")

    @property
    def attributes(self) -> list[str]:
        """The attributes in the order given, each once."""
        return list(dict.fromkeys([editor.attribute for _, editor in self.editors] + list(self.linear_of)))
