"""The tables of README.md and docs/, made from the committed JSON: no figure in them is typed by hand.

    python -m benchmarks.page_tables            # writes the tables, and docs/evaluation/report.md, where they stand
    python -m benchmarks.page_tables --check    # says which pages differ from their JSON, and fails

A table stands between `<!-- table: NAME -->` and `<!-- /table -->`. Its text is `templates/tables.md.j2`, its rows are
chosen in `page_rows.py`.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks import page_rows
from deltafast.evaluation.markdown import report_page
from deltafast.files import atomic_write, read_json

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "docs/quality.md", "docs/convolutions.md")
REPORT = "docs/evaluation/report.json"
_BLOCK = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def main(arguments: list[str] | None = None) -> int:
    """Write or check the pages; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page differs from its JSON")
    check = parser.parse_args(arguments).check
    differing = {name: text for name, text in pages().items() if text != (ROOT / name).read_text(encoding="utf-8")}
    for name, text in differing.items():
        if check:
            print(f"{name} differs from its JSON: run python -m benchmarks.page_tables", file=sys.stderr)
            continue
        with atomic_write(ROOT / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"{name} written")
    return 1 if check and differing else 0


def pages() -> dict[str, str]:
    """Return every page that holds figures, with today's tables in it: path from the root -> text."""
    made = tables()
    texts = {name: fill((ROOT / name).read_text(encoding="utf-8"), made) for name in PAGES}
    texts[REPORT.removesuffix(".json") + ".md"] = report_page(read_json(ROOT / REPORT))
    return texts


def fill(text: str, made: dict[str, str]) -> str:
    """Return `text` with each marked table replaced by that of its name; KeyError for a name that is not known."""
    return _BLOCK.sub(lambda block: f"{block[1]}{made[block[2]]}{block[3]}", text)


def tables() -> dict[str, str]:
    """Return all tables by name, made from the committed JSON."""
    return drawn(page_rows.table_rows(ROOT))


def drawn(rows: dict[str, tuple[str, Any]]) -> dict[str, str]:
    """Return the text of each table by name, given its macro of templates/tables.md.j2 and its rows."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= page_rows.FILTERS
    macros = environment.get_template("tables.md.j2").module
    return {name: str(getattr(macros, macro)(given)) for name, (macro, given) in rows.items()}


if __name__ == "__main__":
    sys.exit(main())
