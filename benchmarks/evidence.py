"""Results kept as they come: one JSON object a line, so that whoever is stopped leaves what was found until then.

A program that takes `--evidence FILE` appends a row for each result as soon as it has it. Started again with the same
file, after a crash, it leaves out what is there already; what was begun and never ended is what crashed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]

LOST_DEVICE = 70  # exit code: after an error of CUDA nothing else can be done in this process


class Evidence:
    """A file of rows; `path` None keeps them in memory alone."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.rows: list[Row] = [] if path is None else read_rows(path)
        self._seen = {row["name"] for row in self.rows if "name" in row}

    def seen(self, name: str) -> bool:
        """Whether there was a row of that name when the file was opened: it is done, or it crashed."""
        return name in self._seen

    def add(self, **row: Any) -> None:
        """Append a row."""
        self.rows.append(row)
        if self._path is not None:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def begin(self, name: str) -> None:
        """Note that something begins: the row counts as a crash until another one of that name follows."""
        self.add(name=name, begun=True)

    @property
    def ok(self) -> bool:
        """Whether no row says otherwise."""
        return all(row.get("ok", True) for row in self.rows)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file, none where it is not there; a line that was cut off is left out."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def settled(rows: list[Row]) -> list[Row]:
    """Return the rows without those that only say what began; what began and never ended becomes a failure."""
    ended = {row.get("name") for row in rows if not row.get("begun")}
    result = []
    for row in rows:
        if not row.get("begun"):
            result.append(row)
        elif row["name"] not in ended:
            ended.add(row["name"])
            result.append({"name": row["name"], "ok": False, "reason": "it never ended: a crash, a hang or a cut"})
    return result
