"""What `--by` and `--to` reached, said face by face, and of many faces in one line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from deltafast.editing import EditResult

__all__ = ["ReachedReport"]

_SAID = 16  # faces that get lines of their own


class ReachedReport:
    """Collects what edits reached; of the first sixteen faces every line is printed as it comes."""

    def __init__(self) -> None:
        self._faces = 0
        self._edits: dict[str, list[bool]] = {}

    def add(self, names: list[str], edit: EditResult) -> None:
        """Take the edits of the faces `names`; of edits by alpha nothing is said."""
        for row, name in enumerate(names if edit.reached else []):
            self._faces += 1
            for attribute, one in (edit.reached or {}).items():
                before = float(one.before[row])
                columns = (one.wanted[row], one.after[row], one.there[row])
                for wanted, after, there in zip(*(column.reshape(-1).tolist() for column in columns), strict=True):
                    self._edits.setdefault(attribute, []).append(bool(there))
                    if self._faces <= _SAID:
                        typer.echo(_line(name, attribute, one.unit, before, wanted, after, bool(there)))

    def close(self) -> None:
        """Print how many edits reached what was asked, where not every line was printed."""
        if self._faces > _SAID:
            for attribute, there in self._edits.items():
                typer.echo(f"{attribute}: {sum(there)} of {len(there)} edits reached what was asked")


def _line(name: str, attribute: str, unit: str, before: float, wanted: float, after: float, there: bool) -> str:
    if math.isnan(after) or math.isnan(before):
        return f"{name}: {attribute}: no face is seen to read it off"
    digits = 1 if unit == "degree" else 3
    missed = "" if there else f"; {wanted:.{digits}f} was asked and is not reached"
    return f"{name}: {attribute} from {before:.{digits}f} to {after:.{digits}f} ({unit}){missed}"
