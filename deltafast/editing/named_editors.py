"""Editors as they are typed: names, files and directions, each with an amount of its own where it has one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deltafast.delta.direction import DirectionEditor
from deltafast.delta.editor import LatentEditor
from deltafast.delta.editor_file import tensors_digest
from deltafast.delta.loading import load_editor
from deltafast.editing.provenance import Provenance
from deltafast.errors import InvalidInputError
from deltafast.generators.base import Generator
from deltafast.inputs import is_there

__all__ = ["GivenEditor", "NamedEditors", "amount_label", "given_editor", "named_editors"]


@dataclass(frozen=True)
class GivenEditor:
    """An editor as given: its name or file, where it has one its own amount, and whether that says by or to."""

    name: str
    amount: float | None
    word: str


@dataclass(frozen=True)
class NamedEditors:
    """What `named_editors` makes of names.

    - `editors`: fitted to the generator; `described`: what they are, as JSON values.
    - `amounts`: one for each editor, as `EditSession` takes alpha, by or to.
    - `sweep`: what the images' names say: the sweep, or the amount of a single editor that has its own; none of several
      that all have.
    """

    editors: list[LatentEditor]
    described: list[Any]
    amounts: list[Any]
    sweep: list[float]

    def labels(self, word: str) -> list[str]:
        """Return how the names of one face's images end: `_+1`, `_by+15`, or nothing; `word` is alpha, by or to."""
        return [f"_{'' if word == 'alpha' else word}{amount_label(amount)}" for amount in self.sweep] or [""]

    def provenance(self, word: str, generator: Generator) -> list[Provenance]:
        """Return what each of one face's images is, in the order of `labels`."""
        count = len(self.sweep) or 1
        names = [editor.attribute for editor in self.editors]
        given = [amount[0] if isinstance(amount, list) else [amount] * count for amount in self.amounts]  # [E][K]
        return [
            Provenance.of(
                generator,
                [{"attribute": name, word: float(row[k])} for name, row in zip(names, given, strict=True)],
            )
            for k in range(count)
        ]


def amount_label(amount: float) -> str:
    """Return an amount as the names of files have it."""
    return f"{amount:+.10g}"


def given_editor(text: str) -> GivenEditor:
    """Read `yaw`, `yaw=0.5`, `yaw=by15` or `yaw=to0`; what exists is a file. Raises `InvalidInputError`."""
    name, equals, amount = text.rpartition("=")
    if not equals or is_there(text):
        return GivenEditor(text, None, "")
    word = amount[:2] if amount[:2] in ("by", "to") else ""
    try:
        value = float(amount.removeprefix(word))
    except ValueError as error:
        raise InvalidInputError(
            f"an editor's own amount is a number, as in yaw=0.5, yaw=by15 or yaw=to0; got {text!r}"
        ) from error
    if not math.isfinite(value):
        raise InvalidInputError(f"an editor's own amount must be finite; got {text!r}")
    return GivenEditor(name, value, word)


def named_editors(
    given: Sequence[GivenEditor], amounts: Sequence[float], generator: Generator, *, same_w_space: bool = False
) -> NamedEditors:
    """Return the editors for a generator; `amounts` are those of the ones that have none of their own.

    Raises `EditorError` as `load_editor` does.
    """
    editors: list[LatentEditor] = []
    described: list[Any] = []
    for one in given:
        loaded = load_editor(one.name)
        if isinstance(loaded, DirectionEditor):
            editors.append(loaded.for_generator(generator))
            described.append(loaded.as_json())
        else:
            fitted = loaded.for_generator(generator, same_w_space=same_w_space)
            editors.append(fitted)
            described.append({**fitted.info.as_json(), "sha256": tensors_digest(loaded.state_dict())})
    own = [one.amount for one in given if one.amount is not None]
    if len(own) == len(given):  # one image for each face
        return NamedEditors(editors, described, [[[amount]] for amount in own], own if len(own) == 1 else [])
    several = list(amounts)
    return NamedEditors(editors, described, [[several] if one.amount is None else one.amount for one in given], several)
