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


def matched_tables(high: float) -> dict[str, object]:
    """One set of faces at one matched change: of two LINEARs ridge does better, and ours is at most `high` of it."""

    def row(mean: float) -> dict[str, object]:
        span = {"mean": mean, "low": mean, "high": mean, "n": 9}
        ratio = {"mean": 0.8, "low": 0.7, "high": high, "n": 9}
        return {"beyond": span, "distance": mean, "low": mean, "high": mean, "per_unit": span, "ratio": ratio}

    methods = {"ours": row(0.2), "linear": row(0.3), "linear-ridge": row(0.25)}
    change = {
        "change": 20.0,
        "turn_itself": 0.281,
        "brought": {"ours": 0.957},
        "faces_each_way": [180, 190],
        "identity": {name: {**entry, "distance": entry["beyond"]} for name, entry in methods.items()},
        "leak": {name: {"leak": entry} for name, entry in methods.items()},
        "realism": {"alike": {**methods, "linear": {**methods["linear"], "ours_is": "better"}}},
    }
    return {"attributes": {"yaw": {"changes": [change]}}}


def test_claims_are_the_upper_ends_of_ratios_to_the_best_linear() -> None:
    sets = {"sampled": matched_tables(0.934), "latents": matched_tables(1.02)}
    shown = page_tables.drawn(page_rows.editor_tables(sets))
    assert "| yaw | 20° | 96 % | 0.200 [0.200, 0.200] | at most 93 % (ridge) |" in shown["editors"]
    assert "| yaw | 20° | 180 / 190 | 80 % [70, 93] (ridge) |" in shown["sampled"]
    assert "**80 % [70, 102] (ridge)**" in shown["photos-edited"]
    assert "| 0.200 [0.200, 0.200] | 0.300 [0.300, 0.300] (better) | - | 0.250" in shown["realism"]


def test_a_mark_of_an_unknown_table_is_refused() -> None:
    text = "before\n<!-- table: one -->\nold\n<!-- /table -->\nafter\n"
    assert page_tables.fill(text, {"one": "new\n"}) == text.replace("old", "new")
    with pytest.raises(KeyError):
        page_tables.fill(text, {"two": "new\n"})
