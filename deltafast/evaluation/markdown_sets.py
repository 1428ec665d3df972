"""The tables of one set of faces as Markdown: identity, realism, precision and leak."""

from __future__ import annotations

from typing import Any

from deltafast.evaluation.markdown_text import interval, number, percent, picture, table
from deltafast.evaluation.matched import LEAK
from deltafast.faces.attributes import MEASURES

__all__ = ["set_section"]

_NOT_COMPARABLE = "theirs, not comparable"


def set_section(name: str, tables: dict[str, Any], report: dict[str, Any]) -> str:
    """Return the section of one set of faces; `report` is the whole report."""
    shown = {file: caption for file, caption in report["figures"].items() if file.startswith(f"{name}-")}
    faces = tables["faces"]
    lines = [f"## {tables['title'][0].upper()}{tables['title'][1:]}", ""]
    lines.append(f"{faces['count']} faces; in {faces['without_face']} of the unedited ones no face is found.")
    if faces.get("skipped"):
        lines.append("Skipped: " + "; ".join(f"{file} ({why})" for file, why in faces["skipped"].items()) + ".")
    projection = tables.get("projection")
    if projection:
        lines.append(
            f"Between a photo and its projection the descriptors' distance is {interval(projection['distance'])}, "
            f"their cosine {interval(projection['cosine'])}: what follows compares edits with the unedited projection."
        )
    lines += [
        "",
        _identity(tables, report),
        _realism(tables, report),
        _precision(tables, report),
        _leak(tables, report),
    ]
    return "\n".join([*lines, *(picture(file, caption) for file, caption in shown.items())])


def _label(report: dict[str, Any], attribute: str, method: str) -> str:
    label: str = report["attributes"][attribute]["methods"][method]["label"]
    return label


def _group_rows(tables: dict[str, Any], report: dict[str, Any]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the groups there are, and (method, label) of every method in any of them."""
    groups = list(tables["groups"])
    methods: dict[str, str] = {}
    for entry in tables["groups"].values():
        for method in entry["methods"]:
            methods.setdefault(method, _label(report, entry["attributes"][0], method))
    return groups, list(methods.items())


def _identity(tables: dict[str, Any], report: dict[str, Any]) -> str:
    groups, methods = _group_rows(tables, report)
    between = tables["between_different_faces"]
    lines = ["### Identity along an edit (the paper's Table 2)", ""]
    lines.append(
        "Cosine (higher is better) and distance (lower is better) between dlib's descriptors of the edited and the "
        "unedited face, on average along the edit up to the change at which all methods are matched, face by face."
    )
    if between:
        lines.append(
            f"Between different faces of this run: cosine {number(between['cosine_mean'])} on average, "
            f"{number(between['cosine_most'])} at most; distance {number(between['mean'])} on average, "
            f"{number(between['least'])} at least."
        )
    lines += ["The paper does not name its face network.", ""]
    rows = []
    for method, label in methods:
        cells = [_cell(tables["groups"][group]["methods"].get(method), group) for group in groups]
        rows.append([label, *(text for pair in cells for text in pair)])
    if between:
        rows.append(["*different faces*"] + [number(between["cosine_mean"]), number(between["mean"])] * len(groups))
    for who, values in report["published"]["cosine"].items():
        rows.append([f"*{who} ({_NOT_COMPARABLE})*"] + [t for g in groups for t in (number(values.get(g)), "-")])
    head = ["method"] + [f"{group}, {what}" for group in groups for what in ("cosine", "distance")]
    lines.append(table(head, rows))
    lines += ["Each attribute, at the matched change itself (the interval of the difference is over paired faces):", ""]
    rows = []
    for attribute, entry in tables["attributes"].items():
        change = (
            f"{interval(entry['matched']['change'])} ({'/'.join(map(str, entry['matched']['faces_each_way']))} faces)"
        )
        for method, figures in entry["identity"].items():
            row = [attribute, change, _label(report, attribute, method)]
            row += [interval(figures["cosine_at_end"]), interval(figures["distance_at_end"])]
            rows.append([*row, interval(figures.get("ours_minus_this")), figures.get("ours_is", "-")])
        for method in entry["matched"]["left_out"]:
            rows.append(
                [attribute, "does not reach three quarters as far", _label(report, attribute, method), *("-" * 4)]
            )
    head = ["edit", "change (faces matched at α < 0 / > 0)", "method", "cosine", "distance"]
    lines.append(table([*head, "ours − this", "ours is"], rows))
    return "\n".join(lines)


def _cell(row: dict[str, Any] | None, group: str) -> tuple[str, str]:
    identity = (row or {}).get("identity")
    return (interval(identity["cosine_along"]), interval(identity["distance_along"])) if identity else ("-", "-")


def _realism(tables: dict[str, Any], report: dict[str, Any]) -> str:
    groups, methods = _group_rows(tables, report)
    network = report["network"]
    kind = "FID" if network["is_fid"] else "Fréchet distance (not FID: another network)"
    halves = tables["unedited_halves"]
    lines = ["### Realism (the paper's Table 1)", ""]
    lines.append(
        f"{kind} between edited (α = −1 and 1, averaged) and unedited images of the same faces, features of "
        f"{network['name']}; lower is better. From few samples a Fréchet distance comes out too large, by about 1/n: "
        'in brackets its interval, and under "n → ∞" where the distances of subsets point as n grows. All methods '
        "share faces and draws, so that their differences suffer least."
    )
    if halves and halves["distance"] is not None:
        lines.append(
            f"Two random halves of the unedited faces, {halves['n']} each, are {number(halves['distance'])} apart "
            f"(n → ∞: {number(halves['extrapolated'])})."
        )
    if not network["is_fid"]:
        lines.append(
            "MobileNetV2 is also the encoder's backbone and is compared with when images are projected; no editor is "
            "trained against it."
            if "MobileNet" in network["name"]
            else ""
        )
    lines.append("")
    rows = []
    for method, label in methods:
        row = [label]
        for group in groups:
            figures = tables["groups"][group]["methods"].get(method, {})
            row += [number(figures.get("frechet_distance")), number(figures.get("frechet_extrapolated"))]
        rows.append(row)
    for who, values in report["published"]["frechet_distance"].items():
        rows.append([f"*{who} ({_NOT_COMPARABLE})*"] + [t for g in groups for t in (number(values.get(g)), "-")])
    lines.append(table(["method"] + [t for g in groups for t in (g, f"{g}, n → ∞")], rows))
    rows = []
    for attribute, entry in tables["attributes"].items():
        for method, figures in entry["realism"].items():
            shown = {"mean": figures["distance"], "low": figures["low"], "high": figures["high"]}
            row = [attribute, _label(report, attribute, method), interval(shown), number(figures["extrapolated"])]
            rows.append([*row, interval(figures.get("ours_minus_this")), figures.get("ours_is", "-")])
    lines.append(table(["edit", "method", "distance", "n → ∞", "ours − this", "ours is"], rows))
    return "\n".join(lines)


def _precision(tables: dict[str, Any], report: dict[str, Any]) -> str:
    lines = ["### Precision", ""]
    lines.append(
        "The target measure against α, read off the image: slope per α, change from α = −1 to 1, share of faces where "
        "it rises at every step, R² of a line; and the descriptor's distance at |α| = 1."
    )
    lines.append("")
    rows = []
    for attribute, entry in tables["attributes"].items():
        for method, figures in entry["precision"].items():
            row = [attribute, _label(report, attribute, method), f"{figures['measure'].replace('_', ' ')}"]
            row += [interval(figures["slope"]), interval(figures["total_change"]) + _relative(figures)]
            monotone = figures["monotone"]["mean"]
            rows.append([*row, percent(monotone), interval(figures["r2"]), interval(figures["distance_at_1"])])
    head = ["edit", "method", "measure", "slope", "change", "monotone", "R²", "distance at 1"]
    lines.append(table(head, rows))
    lines += [
        "Asked for and got: the change that the rendered heads show at the value that α means, and the change that is "
        "seen; the error is the mean over faces of the absolute difference.",
        "",
    ]
    rows, errors = [], []
    for attribute, entry in tables["attributes"].items():
        for method, figures in entry["asked"].items():
            label = _label(report, attribute, method)
            unit = "°" if figures["value_unit"] == "degree" else ""
            if method == report["attributes"][attribute]["ours"]:
                for row in figures["rows"]:
                    value = f"{row['value']:.3g}{unit}"
                    cells = [number(row["asked"]), interval(row["got"]), interval(row["error"])]
                    rows.append([attribute, f"{row['alpha']:g}", value, *cells, figures["unit"]])
            errors.append([attribute, label, interval(figures["error"]), interval(figures["nominal_error"])])
    lines.append(table(["edit", "α", "asked for", "as measured on the heads", "got", "error", "unit"], rows))
    lines.append(table(["edit", "method", "error, all α", "error against the plain angle (degrees)"], errors))
    return "\n".join(lines)


def _relative(figures: dict[str, Any]) -> str:
    """Add what a change of widths means relative to the faces' own, and of ln ratios as a ratio."""
    total, unedited = figures["total_change"]["mean"], figures["unedited_mean"]
    if total is None:
        return ""
    if figures["unit"].startswith("ln("):
        return f" (ratio {2.718281828459045**total:.2f})"
    if figures["unit"].startswith("share") and unedited:
        return f" ({100 * total / unedited:.0f} % of the mean)"
    return ""


def _leak(tables: dict[str, Any], report: dict[str, Any]) -> str:
    lines = ["### Leak", ""]
    lines.append(
        "Absolute change of every measure that was not asked for, per unit of the target's change, at the matched "
        "change; all together: the sum in standard deviations over unedited faces, per standard deviation of the "
        "target. Lower is better; b, e, w: E and D is better than, equal to or worse than this method (paired faces)."
    )
    lines.append("")
    names = [*MEASURES, LEAK]
    rows = []
    for attribute, entry in tables["attributes"].items():
        for method, figures in entry["leak"].items():
            cells = []
            for name in names:
                figure = figures.get(name)
                mark = f" {figure['ours_is'][0]}" if figure and "ours_is" in figure else ""
                cells.append("target" if figure is None else interval(figure["per_unit"]) + mark)
            rows.append([attribute, _label(report, attribute, method), *cells])
    head = ["edit", "method", *(name.replace("_", " ") for name in MEASURES), "all together"]
    lines.append(table(head, rows))
    return "\n".join(lines)
