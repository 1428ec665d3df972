"""What README.md and docs/ show is what the committed JSON holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import page_rows, page_tables


def test_pages_show_what_the_committed_json_holds(repository_root: Path) -> None:
    for name, text in page_tables.pages().items():
        shown = (repository_root / name).read_text(encoding="utf-8")
        assert shown == text, f"{name} differs from its JSON: run python -m benchmarks.page_tables"


def test_every_table_stands_on_a_page(repository_root: Path) -> None:
    pages = "".join((repository_root / name).read_text(encoding="utf-8") for name in page_tables.PAGES)
    for name in page_tables.tables():
        assert pages.count(f"<!-- table: {name} -->") == 1, name


def test_another_figure_gives_another_table(repository_root: Path) -> None:
    report = json.loads((repository_root / page_tables.REPORT).read_text(encoding="utf-8"))
    tables = report["sets"]["sampled"]
    yaw = tables["attributes"]["yaw"]
    (before,) = (row for row in page_rows.against_linear(tables) if row["attribute"] == "yaw")
    assert (before["realism"]["who"], before["realism"]["is"]) == ("ridge", "worse")
    yaw["realism"]["linear"] |= {"distance": 0.01, "ours_is": "worse"}
    yaw["precision"]["ours"]["total_change"]["mean"] = 77.0
    (after,) = (row for row in page_rows.against_linear(tables) if row["attribute"] == "yaw")
    assert after["realism"]["who"] == "mean"
    assert after["change"].startswith("77.0°")


def test_a_mark_of_an_unknown_table_is_refused() -> None:
    text = "before\n<!-- table: one -->\nold\n<!-- /table -->\nafter\n"
    assert page_tables.fill(text, {"one": "new\n"}) == text.replace("old", "new")
    with pytest.raises(KeyError):
        page_tables.fill(text, {"two": "new\n"})
