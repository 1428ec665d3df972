"""The report as a Markdown page: every table of `report.json` in words, and the pictures; the text is templates/."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from deltafast.evaluation import markdown_words
from deltafast.faces.attributes import MEASURES, TARGET_MEASURES

__all__ = ["count_verdicts", "report_page"]

_CONSISTENCY = {
    "at_zero": "D(w, 0)",
    "halves": "½ then ½ against 1",
    "undo": "1 then −1",
    "undo_by_encoding": "Δ_ij then Δ_ji",
}
_ORDER = (  # in which a page shows what JSON keeps by the alphabet; whatever is not named follows as it comes
    *("sampled", "photos", "latents"),
    *("ours", "linear", "linear-two-heads", "linear-ridge"),
    *("Light", "Pose", "Expression"),
    *("identity", "alpha"),
    *TARGET_MEASURES,
    *("paths", "scatter", "spectrum", "components"),
    *("I2S", "ReStyle-pSp", "the paper"),
)
_PLACES = {name: place for place, name in enumerate(_ORDER)}


def report_page(report: dict[str, Any]) -> str:
    """Return the whole page for the JSON values of a report."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("deltafast.evaluation"), trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    for name in markdown_words.__all__:
        pages.filters[name] = getattr(markdown_words, name)
    report = _in_order(report)
    own = {file for name in report["sets"] for file in report["figures"] if file.startswith(f"{name}-")}
    spaces = report.get("delta_space", {})
    page = pages.get_template("report.md.j2").render(
        report=report,
        comparisons=count_verdicts(report),
        measures=list(MEASURES),
        consistency_titles=_CONSISTENCY,
        group_methods=_group_methods,
        label=_label,
        delta_effects={name: entry for name, entry in spaces.items() if entry.get("effects")},
        other_figures={file: caption for file, caption in report["figures"].items() if file not in own},
    )
    return page.rstrip() + "\n"


def _in_order(values: Any) -> Any:
    """Return JSON values with sets, attributes, methods and figures where a reader expects them."""
    if isinstance(values, dict):
        return {key: _in_order(values[key]) for key in sorted(values, key=_place)}
    return [_in_order(value) for value in values] if isinstance(values, list) else values


def _place(key: str) -> int:
    stem = key.rpartition(".")[0] or key  # of a figure, such as sampled-yaw.jpg
    return _PLACES.get(stem, _PLACES.get(stem.partition("-")[2], len(_PLACES)))


def count_verdicts(report: Any) -> dict[str, int]:
    """Return how many comparisons a report makes, `made`, and how many come out "better", "equal" and "worse"."""
    found = Counter(_verdicts(report))
    return {"made": sum(found.values()), **{word: found[word] for word in ("better", "equal", "worse")}}


def _verdicts(values: Any) -> Iterator[str]:
    if isinstance(values, dict):
        if "ours_is" in values:
            yield values["ours_is"]
        values = list(values.values())
    for value in values if isinstance(values, list) else ():
        yield from _verdicts(value)


def _label(report: dict[str, Any], attribute: str, method: str) -> str:
    label: str = report["attributes"][attribute]["methods"][method]["label"]
    return label


def _group_methods(tables: dict[str, Any], report: dict[str, Any]) -> dict[str, str]:
    """Return name and label of every method in any of the groups of attributes."""
    methods: dict[str, str] = {}
    for entry in tables["groups"].values():
        for method in entry["methods"]:
            methods.setdefault(method, _label(report, entry["attributes"][0], method))
    return methods
