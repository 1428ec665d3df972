"""The report as a Markdown page: every table of `report.json` in words, and the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deltafast.evaluation.markdown_sets import set_section
from deltafast.evaluation.markdown_text import interval, number, percent, picture, table
from deltafast.faces.attributes import MEASURES

__all__ = ["report_page"]

_CONSISTENCY = {
    "at_zero": "D(w, 0)",
    "halves": "½ then ½ against 1",
    "undo": "1 then −1",
    "undo_by_encoding": "Δ_ij then Δ_ji",
}


def report_page(report: dict[str, Any]) -> str:
    """Return the whole page for the JSON values of a report."""
    parts = [_head(report), _verdicts(report["verdicts"])]
    parts += [set_section(name, tables, report) for name, tables in report["sets"].items()]
    parts += [_consistency(report), _latent_figures(report), _methods(report["attributes"])]
    shown = {file for name in report["sets"] for file in report["figures"] if file.startswith(f"{name}-")}
    rest = {file: caption for file, caption in report["figures"].items() if file not in shown}
    parts.append(_pictures("## Pictures of latents and of Δ", rest))
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def _head(report: dict[str, Any]) -> str:
    run = report["run"]
    sets = "; ".join(f"{tables['faces']['count']} {tables['title']}" for tables in report["sets"].values())
    return "\n".join(
        [
            "# Evaluation",
            "",
            f"    {run['command']}",
            "",
            f"{sets}. Generator: {report['generator']['name']}. Everything is read off images by networks that had no "
            "part in training the editors: dlib's 68 landmarks and its face descriptor. Brackets are 95 % bootstrap "
            f"intervals over faces. {run['machine']}, {run['cores']} cores; torch {run['versions']['torch']}; "
            f"{run['date']}; commit {(run['commit'] or 'unknown')[:12]}; {report['seconds']:.0f} s, "
            f"{report['images_synthesised']} images synthesised in this run (others were kept from before). All "
            "figures: [report.json](report.json).",
            "",
            "E and D is the trained editor. LINEAR is a plain vector in the same W+ slots: the mean of a_j − a_i over "
            "the editor's identities and projections; over the two heads alone; and the best single direction that "
            "ridge regression finds on sampled, measured latents. Baselines are brought to the length at which α = 1 "
            "moves the target as far as the editor's α = 1 does, on faces that are not reported.",
            "",
        ]
    )


def _verdicts(entries: Sequence[dict[str, Any]]) -> str:
    if not entries:
        return ""
    rows = [[entry["what"], "yes" if entry["reached"] else "**no**", entry["figure"]] for entry in entries]
    return "## Wanted, and reached\n\n" + table(["wanted", "reached", "figure"], rows)


def _consistency(report: dict[str, Any]) -> str:
    found = report["consistency"]
    lines = [
        "## Consistency",
        "",
        f"{found['faces']} faces. In latents: lengths relative to the whole edit's, 0 being exact. D(w, 0) is what the "
        "paper's raw edit adds at α = 0 (the edit here subtracts it). Order: the mean over the other attributes of how "
        "far apart the two orders of two edits end.",
        "",
    ]
    rows = []
    for attribute, methods in found["latents"].items():
        for name, figures in methods.items():
            label = report["attributes"][attribute]["methods"][name]["label"]
            order = [value["mean"] for value in figures["order"].values() if value["mean"] is not None]
            shown = [interval(figures.get(key)) for key in _CONSISTENCY]
            rows.append([attribute, label, *shown, number(sum(order) / len(order)) if order else "-"])
    lines.append(table(["edit", "method", *_CONSISTENCY.values(), "order"], rows))
    lines += [
        "In images, of the first method of each attribute: the distance of descriptors, and the difference of the "
        "target measure, between two pictures that should be the same.",
        "",
    ]
    rows = []
    for attribute, figures in found["images"].items():
        for what in ("halves", "undo"):
            rows.append([attribute, _CONSISTENCY[what], *_pair(figures[what])])
        for other, figure in figures["order"].items():
            rows.append([attribute, f"before or after {other}", *_pair(figure)])
    lines.append(table(["edit", "what", "descriptor distance", "difference of the target"], rows))
    return "\n".join(lines)


def _pair(figures: dict[str, Any]) -> list[str]:
    return [interval(figures["distance"]), interval(figures["target"])]


def _latent_figures(report: dict[str, Any]) -> str:
    lines = ["## Paths and the space of Δ", ""]
    rows = [[name, percent(f["bend"]), number(f["spread_degrees"])] for name, f in report["paths"].items()]
    lines.append(
        "Bend: how far a path leaves the straight line between its ends (α = −2 and 2), relative to that line. Spread: "
        "the angle between two faces' displacements at α = 1. Both are 0 for LINEAR.\n"
    )
    lines.append(table(["edit", "bend", "spread (degrees)"], rows))
    scatter = report.get("scatter")
    if scatter:
        rows = [
            [what, number(scatter["distance_to_mean_face"][what]), number(scatter["length_of_deltas"][what])]
            for what in ("sampled", "synthetic")
        ]
        lines.append(table(["latents", "mean distance to the mean face (W+)", "mean length of deltas"], rows))
    rows = []
    for attribute, entry in report.get("delta_space", {}).items():
        for k, effects in enumerate(entry.get("effects", [])):
            changes = [interval(effects[name]) for name in MEASURES]
            rows.append([attribute, str(k + 1), percent(entry["explained"][k]), *changes])
    if rows:
        lines.append("What the first components of Δ change, from −1 to 1 standard deviation of it:\n")
        lines.append(table(["Δ of", "component", "variance", *(n.replace("_", " ") for n in MEASURES)], rows))
    return "\n".join(lines)


def _methods(attributes: dict[str, Any]) -> str:
    rows = []
    for attribute, entry in attributes.items():
        for method in entry["methods"].values():
            slots = ", ".join(map(str, method["slots"]))
            rows.append([attribute, method["label"], slots, number(method["scale"]), _origin(method)])
    return "## Methods\n\n" + table(["edit", "method", "W+ slots", "length multiplied by", "learned from"], rows)


def _origin(method: dict[str, Any]) -> str:
    """Say in words what a method was learned from."""
    if "r2_left_out" in method:
        return f"{method['samples']} sampled faces; R² {method['r2_left_out']:.2f} on those left out"
    if "identities" in method:
        return " and ".join(method["identities"])
    if "training" in method:
        return f"{method['training'].get('identities', '?')} synthetic identities ({method['file']})"
    return "the same identities" if method["label"].startswith("LINEAR") else "-"


def _pictures(title: str, figures: dict[str, str]) -> str:
    return "\n".join([title, "", *(picture(file, caption) for file, caption in figures.items())]) if figures else ""
