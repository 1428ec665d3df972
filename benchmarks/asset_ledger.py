"""Bring sizes and sha256 in deltafast/assets/README.md up to date with the files beside it.

The page holds one table row a file: `| path | bytes | sha256 | command |`. The command column is written by hand,
once; this program fills in the other two, adds rows for new files, and drops rows whose file is gone. It is the last
step of `make assets`, and `tests/test_assets.py` checks that nothing needs doing.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from deltafast.files import atomic_write, sha256_file

ASSETS = Path(__file__).resolve().parent.parent / "deltafast" / "assets"
PAGE = "README.md"
_HEAD = ("| file | bytes | sha256 | made by |", "| --- | --- | --- | --- |")


@dataclass(frozen=True)
class Row:
    """One asset: its path below the assets folder, size in bytes, sha256 in hexadecimal, and the command."""

    path: str
    size: int
    sha256: str
    command: str


def read_rows(page: str) -> dict[str, Row]:
    """Return the table's rows by path."""
    rows = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and cells[1].isdigit():
            path, size, digest, command = cells
            rows[path.strip("`")] = Row(path.strip("`"), int(size), digest.strip("`"), command)
    return rows


def asset_files(folder: Path = ASSETS) -> list[str]:
    """Return the paths of all assets below `folder`, sorted."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != PAGE and not name.endswith(".py") and "__pycache__" not in name)


def measured_rows(known: dict[str, Row], folder: Path = ASSETS) -> list[Row]:
    """Return a row for every file as it is now, with the command of its known row."""
    rows = []
    for name in asset_files(folder):
        path = folder / name
        command = known[name].command if name in known else "(say how it was made)"
        rows.append(Row(name, path.stat().st_size, sha256_file(path), command))
    return rows


def updated(page: str, rows: list[Row]) -> str:
    """Return `page` with its table replaced by `rows`; raises `ValueError` where the page has no such table."""
    lines = page.splitlines()
    if _HEAD[0] not in lines:
        raise ValueError(f"{PAGE} has no table headed {_HEAD[0]!r}")
    start = lines.index(_HEAD[0])
    end = start
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    table = [*_HEAD, *(f"| `{row.path}` | {row.size} | `{row.sha256}` | {row.command} |" for row in rows)]
    return "\n".join([*lines[:start], *table, *lines[end:]]) + "\n"


def main() -> None:
    """Rewrite the page; print the paths whose command is still to be written."""
    page = (ASSETS / PAGE).read_text(encoding="utf-8")
    rows = measured_rows(read_rows(page))
    with atomic_write(ASSETS / PAGE) as temporary:
        temporary.write_text(updated(page, rows), encoding="utf-8")
    unsaid = [row.path for row in rows if row.command.startswith("(")]
    print(f"{len(rows)} assets, {sum(row.size for row in rows)} bytes")
    if unsaid:
        sys.exit(f"no command given for: {', '.join(unsaid)}")


if __name__ == "__main__":
    main()
