"""What decides how E and D look and how they are trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from deltafast.arguments import check_count, check_not_negative, check_seed
from deltafast.errors import InvalidInputError
from deltafast.ops import FLOW_STEPS, MAX_FLOW_STEPS

__all__ = ["FORMS", "LOSSES", "NEGATIVE_MODES", "DeltaConfig", "PreciseConfig", "current_words", "recommended_slots"]

LOSSES = ("paper", "precise")
FORMS = ("jump", "flow")
NEGATIVE_MODES = ("symmetric", "other-end", "scale")

_OLD_WORDS = {"reach": "extent", "asked_gain": "target_gain", "asked": "target", "kept": "leak"}  # of version 0.1
_LATER = {
    "far": 1.0,
    "commute": 0.3,
    "degrees": False,
}  # fields of PreciseConfig, and their defaults, that the first files do not have

_SLOTS = {
    "yaw": range(0, 6),
    "pitch": range(0, 6),
    "smile": range(3, 8),
    "eyes-closed": range(3, 9),
    "light": range(6, 12),
    "mouth-open": range(3, 8),
    "brows-raised": range(3, 9),
    "light-elevation": range(6, 12),
    "gaze": range(3, 9),
    "age": range(0, 12),
    "gender": range(0, 12),
    "weight": range(0, 12),
}


@dataclass(frozen=True)
class PreciseConfig:
    """The second stage of `loss="precise"`: E and D are trained on by the images that their edits give.

    - `steps`, `edits` (edited faces in a step), `lr` (peak of a cosine schedule).
    - `faces`: sampled faces that are edited; `psi_low`, `psi_high`: between which their truncation psi is drawn.
    - `far`: the largest |α| of an edited face. Beyond 1 the change asked for goes on growing with α, and all that
      should be kept is kept there too. A flow is looked at all along its path, at |α| from 0.25 to `far`.
    - `target_gain`: factor on the change that the synthetic sequence says an edit should make.
    - `degrees`: of yaw and pitch, ask for as many true degrees as the rendered heads are turned, instead of what their
      projections show of it: α = 1 then is a turn by `EditorInfo.value_range`.
    - Weights: `target`, of the squared error of the attribute's own measure; `leak`, of the mean square change of all
      others (both in standard deviations over the faces); `identity`, of 1 - cosine of the face's descriptors before
      and after; `undo`, of what an edit with -Δ leaves, as a share of the squared edit; `latents`, of what D leaves of
      another identity's change in the sequences, as a share of the squared change; `commute`, of what the order of the
      edit and another editor's changes, as a share of both (form="flow"; `train_editor(..., commuting=...)`).

    Raises `InvalidInputError` for values out of range.
    """

    steps: int = 240
    edits: int = 4
    lr: float = 5e-4
    faces: int = 96
    psi_low: float = 0.5
    psi_high: float = 1.0
    target_gain: float = 1.0
    target: float = 3.0
    leak: float = 2.0
    identity: float = 6.0
    undo: float = 0.1
    latents: float = 0.3
    far: float = 1.0
    commute: float = 0.3
    degrees: bool = False

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("edits", 1), ("faces", 2)):
            check_count(name, getattr(self, name), least)
        for name in (
            "lr",
            "psi_low",
            "psi_high",
            "target_gain",
            "target",
            "leak",
            "identity",
            "undo",
            "latents",
            "far",
            "commute",
        ):
            check_not_negative(name, getattr(self, name))
        if self.target_gain == 0:
            raise InvalidInputError("target_gain must be above 0")
        if not isinstance(self.degrees, bool):
            raise InvalidInputError(f"degrees must be True or False, got {self.degrees!r}")
        if not 0.25 < self.far <= 8:
            raise InvalidInputError(f"far must be in 0.25..8, got {self.far}")
        if self.psi_low > self.psi_high:
            raise InvalidInputError(f"psi_low must be at most psi_high, got {self.psi_low} and {self.psi_high}")


@dataclass(frozen=True)
class DeltaConfig:
    """Architecture and training of E and D; the same config and latents give the same weights, to the
    bit on the same machine.

    - `slots`: the W+ slots that the editor moves; None takes `recommended_slots(attribute)`.
    - `dim`: components of Δ in each slot; `width`: hidden units in each slot; `layers`: hidden layers of E and of D.
    - `steps`, `pairs` (pairs of identities in a step, each with all frame pairs), `lr` (peak of a cosine schedule),
      `seed`.
    - `noise_encoder`, `noise_decoder`: standard deviation of n_a and n_b, in units of the latents' own spread.
    - `lambda_a`, `lambda_b`: λ1 and λ2.
    - `identities`: how many identities to use, from the first on; None uses all, 2 is the paper's setting.
    - `negative`: what α < 0 means. "symmetric": α·Δ with half the difference between the Δ to the last frame and the Δ
      to the first one, seen from the neutral face, so that what both ends have in common, which is not the attribute,
      cancels. "other-end": |α| times the Δ to the opposite end. "scale": α·Δ with the Δ to the last frame, as in the
      paper; always where the neutral face is the first frame. All are continuous at α = 0.
    - `extent`: which share of the way from the neutral face to the end of the sequence α = 1 means; it scales Δ.
    - `form`: "jump", the paper's D, which is asked for the whole change at once; or "flow", a field that D follows for
      time α (`deltafast.delta.flow`): −α then leads back, and α followed by β is α + β. A flow is symmetric by itself,
      so `negative` must be "symmetric" or "scale" there. `flow_steps`: of its integrator, per unit of α.
    - `without`: other attributes of the latents whose mean change is taken out of this one's before training, so that
      the edit leaves them alone (`deltafast.delta.apart`); needs the latents' generator.
    - `loss`: "paper", or "precise", which trains on through the generator afterwards as `precise` says.

    Raises `InvalidInputError` for values out of range.
    """

    slots: tuple[int, ...] | None = None
    dim: int = 16
    width: int = 32
    layers: int = 1
    steps: int = 1000
    pairs: int = 8
    lr: float = 2e-3
    noise_encoder: float = 0.1
    noise_decoder: float = 0.5
    lambda_a: float = 1.0
    lambda_b: float = 1.0
    loss: str = "paper"
    negative: str = "symmetric"
    extent: float = 1.0
    identities: int | None = None
    seed: int = 0
    precise: PreciseConfig | None = None
    form: str = "jump"
    flow_steps: int = FLOW_STEPS
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.slots is not None:
            object.__setattr__(self, "slots", tuple(sorted({int(s) for s in self.slots})))
            if not self.slots or min(self.slots) < 0:
                raise InvalidInputError("slots must name at least one W+ slot, numbered from 0")
        if not isinstance(self.without, (tuple, list)) or not all(isinstance(name, str) for name in self.without):
            raise InvalidInputError(f"without takes names of attributes, got {self.without!r}")
        object.__setattr__(self, "without", tuple(self.without))
        for name in ("dim", "width", "layers", "steps", "pairs", "flow_steps"):
            check_count(name, getattr(self, name), 1)
        if self.layers > 8:
            raise InvalidInputError(f"layers must be at most 8, got {self.layers}")
        for name in ("lr", "noise_encoder", "noise_decoder", "lambda_a", "lambda_b"):
            check_not_negative(name, getattr(self, name))
        if not isinstance(self.extent, (int, float)) or not 0 < self.extent <= 4:
            raise InvalidInputError(f"extent must be in 0..4, got {self.extent!r}")
        if self.lambda_a + self.lambda_b <= 0:
            raise InvalidInputError("lambda_a and lambda_b must not both be 0")
        if self.identities is not None:
            check_count("identities (two are the paper's heads)", self.identities, 2)
        check_seed(self.seed)
        if self.loss not in LOSSES:
            raise InvalidInputError(f"loss must be one of {', '.join(LOSSES)}; got {self.loss!r}")
        if self.loss == "precise" and self.precise is None:
            object.__setattr__(self, "precise", PreciseConfig())
        if self.loss != "precise" and self.precise is not None:
            raise InvalidInputError('settings for loss="precise" are given, but loss is "paper"')
        if self.negative not in NEGATIVE_MODES:
            raise InvalidInputError(f"negative must be one of {', '.join(NEGATIVE_MODES)}; got {self.negative!r}")
        if self.form not in FORMS:
            raise InvalidInputError(f"form must be one of {', '.join(FORMS)}; got {self.form!r}")
        if self.flow_steps > MAX_FLOW_STEPS:
            raise InvalidInputError(f"flow_steps must be at most {MAX_FLOW_STEPS}, got {self.flow_steps}")
        if self.form == "flow" and self.negative == "other-end":
            raise InvalidInputError(
                'a flow leads back the way it came: form="flow" needs negative="symmetric" or "scale"'
            )

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; those of a flow, and `without`, only where there is one."""
        values = asdict(self)
        values["slots"] = None if self.slots is None else list(self.slots)
        values["without"] = list(self.without)
        if not self.without:
            del values["without"]
        if self.form == "jump":
            del values["form"], values["flow_steps"]
        if self.precise is None:
            del values["precise"]
        else:
            for name, default in _LATER.items():
                if values["precise"][name] == default:
                    del values["precise"][name]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> DeltaConfig:
        """Read what `as_json` gave, by this version or one with older words; raises `InvalidInputError` otherwise."""
        given = {"precise": None, "form": "jump", "flow_steps": FLOW_STEPS, "without": (), **current_words(values)}
        _check_fields(cls, given)
        slots, precise = given["slots"], given["precise"]
        given["slots"] = None if slots is None else tuple(slots)
        if precise is not None:
            known = {**_LATER, **precise}
            _check_fields(PreciseConfig, known)
            given["precise"] = PreciseConfig(**known)
        return cls(**given)


def current_words(values: dict[str, Any]) -> dict[str, Any]:
    """Return a config's JSON values, as files of version 0.1 hold them too, under today's names."""
    return {
        _OLD_WORDS.get(name, name): current_words(value) if isinstance(value, dict) else value
        for name, value in values.items()
    }


def recommended_slots(attribute: str, num_ws: int) -> tuple[int, ...]:
    """Return the W+ slots to move for an attribute; all of them for one that is not known."""
    return tuple(slot for slot in _SLOTS.get(attribute, range(num_ws)) if slot < num_ws)


def _check_fields(kind: type[DeltaConfig] | type[PreciseConfig], values: dict[str, Any]) -> None:
    names = {f.name for f in fields(kind)}
    if set(values) != names:
        raise InvalidInputError(f"config fields differ: {sorted(set(values) ^ names)}")
