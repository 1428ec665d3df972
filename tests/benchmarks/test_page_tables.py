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
    before = page_tables.drawn(page_rows.editor_tables(report["sets"]))
    yaw = report["sets"]["sampled"]["attributes"]["yaw"]
    best = yaw["changes"][0]["leak"]["linear"]["leak"]
    best["per_unit"]["mean"], best["ratio"] = 1e-3, {"mean": 0.7, "low": 0.6, "high": 0.77, "n": 9}
    yaw["precision"]["ours"]["total_change"]["mean"] = 77.0
    after = page_tables.drawn(page_rows.editor_tables(report["sets"]))
    assert "at most 77 % (mean)" in after["editors"]
    assert "at most 77 % (mean)" not in before["editors"]
    assert "| yaw | 77.0° " in after["precision"]
    assert "| yaw | 77.0° " not in before["precision"]


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
    span = {"mean": 20.0, "low": 19.0, "high": 21.0}
    precision = {"total_change": span, "unedited_mean": 0.0, "monotone": {"mean": 0.98}, "distance_at_1": span}
    ends = {"faces": [3, 5], "monotone_of_others": {"ours": {"mean": 1.0}}}
    return {"attributes": {"yaw": {"changes": [change], "precision": {"ours": precision}, "range_end": ends}}}


def test_claims_are_the_upper_ends_of_ratios_to_the_best_linear() -> None:
    shown = page_tables.drawn(page_rows.editor_tables({"sampled": matched_tables(0.934)}))
    assert "| yaw | 20° | 96 % | 0.200 [0.200, 0.200] | at most 93 % (ridge) |" in shown["editors"]
    assert "| yaw | 20° | 180 / 190 | 80 % [70, 93] (ridge) |" in shown["sampled"]
    assert "| 0.2 [0.2, 0.2] | 0.3 [0.3, 0.3] (better) | - | 0.25 [0.25, 0.25] |" in shown["realism"]
    assert "| yaw | 20.0° [19.0, 21.0] | 98 % (100 % without 2 at the end of the range) |" in shown["precision"]


def test_what_is_not_wholly_better_stands_in_bold() -> None:
    shown = page_tables.drawn(page_rows.editor_tables({"sampled": matched_tables(1.02)}))
    assert "**80 % [70, 102] (ridge)**" in shown["sampled"]


def test_a_mark_of_an_unknown_table_is_refused() -> None:
    text = "before\n<!-- table: one -->\nold\n<!-- /table -->\nafter\n"
    assert page_tables.fill(text, {"one": "new\n"}) == text.replace("old", "new")
    with pytest.raises(KeyError):
        page_tables.fill(text, {"two": "new\n"})
