"""What stands in the tables of README.md and docs/: rows of figures, chosen from the committed JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deltafast.evaluation.matched import LEAK
from deltafast.evaluation.methods import LINEAR, OURS, best_linear
from deltafast.faces.attributes import TARGET_MEASURES
from deltafast.files import read_json

_RESULTS = "benchmarks/results"
_LEAST_RESOLUTION = 64  # of the layers of the convolutions' model that are shown
_WHO = {LINEAR: "mean", "linear-two-heads": "two heads", "linear-ridge": "ridge"}
_PARTS = {"smile": "mouth width", "eyes-closed": "eye openness", "brows-raised": "brow height"}
_LIGHTS = {"light": "shading ratio", "light-elevation": "upper to lower ratio"}
_LOSSES = {"paper": "paper's loss", "default": "precise"}


# ---- words --------------------------------------------------------------------------------------------------------


def figure(value: float, digits: int) -> str:
    """Write a number with so many decimals, and a real minus."""
    return f"{value:.{digits}f}".replace("-", "−")


def span(value: dict[str, float], digits: int, unit: str = "") -> str:
    """Write a mean with its interval."""
    return f"{figure(value['mean'], digits)}{unit} [{figure(value['low'], digits)}, {figure(value['high'], digits)}]"


def short(value: float) -> str:
    """Write a number with three significant digits, and a real minus."""
    return f"{value:.3g}".replace("-", "−")


def short_span(value: dict[str, float]) -> str:
    """Write a distance with its interval, three significant digits each."""
    return f"{short(value['distance'])} [{short(value['low'])}, {short(value['high'])}]"


def share(value: float, digits: int | None = None) -> str:
    """Write a share in percent; without `digits` as short as three significant ones allow."""
    return f"{100 * value:.3g} %" if digits is None else f"{figure(100 * value, digits)} %"


def claim(entry: dict[str, Any] | None) -> str:
    """Write what may be claimed of a ratio to the best LINEAR: the upper end of its interval, and whose it is."""
    return "-" if entry is None else f"at most {share(entry['ratio']['high'], 0)} ({entry['who']})"


def claim_span(entry: dict[str, Any] | None) -> str:
    """Write the ratio itself with its interval, in percent, in bold where it is not below 1 as a whole."""
    if entry is None:
        return "-"
    mean, low, high = (figure(100 * entry["ratio"][key], 0) for key in ("mean", "low", "high"))
    words = f"{mean} % [{low}, {high}] ({entry['who']})"
    return words if entry["ratio"]["high"] < 1 else f"**{words}**"


FILTERS: dict[str, Callable[..., str]] = {
    "figure": figure,
    "span": span,
    "short_span": short_span,
    "share": share,
    "claim": claim,
    "claim_span": claim_span,
}


def change(attribute: str, total: dict[str, float], unedited: float) -> str:
    """Write what an edit changes from α = −1 to 1, in the words of its attribute."""
    if attribute in ("yaw", "pitch"):
        return span(total, 1, "°")
    if attribute in _PARTS:
        return f"{share(total['mean'] / unedited, 0)} of the mean {_PARTS[attribute]}"
    if attribute in _LIGHTS:
        return f"{_LIGHTS[attribute]} {span({key: math.exp(total[key]) for key in ('mean', 'low', 'high')}, 2)}"
    return f"{share(total['mean'], 1)} of the face's width"


# ---- rows ---------------------------------------------------------------------------------------------------------


def table_rows(root: Path) -> dict[str, tuple[str, Any]]:
    """Return name -> (macro of templates/tables.md.j2, what it is given)."""

    def result(name: str) -> Any:
        return read_json(root / _RESULTS / f"{name}.json")

    report = read_json(root / "docs/evaluation/report.json")
    delta = result("delta_ablation_yaw")["settings"]
    turned = turned_faces(result("turned_faces"))
    return {
        **editor_tables(report["sets"]),
        "found-faces": ("found_faces", found_faces(result("found_faces"))),
        "ablation": (
            "ablation",
            [*ablation(result("precise_ablation_smile")), *ablation(result("precise_ablation_yaw"))],
        ),
        "people": ("people", result("people")["editors"]),
        "photos": ("photos", result("photos")),
        "likeness": ("likeness", result("likeness")["likeness"]),
        "likeness-edits": ("likeness_edits", likeness_edits(result("likeness")["edits"])),
        "tuned-memory": ("tuned_memory", result("tuned_memory")),
        "reconstruction": ("reconstruction", result("reconstruction")),
        "linear-of": ("linear_of", [linear_of(name, result(file)) for name, file in _LINEAR_OF]),
        "delta-ablation": ("delta_ablation", delta_ablation(delta)),
        "results": ("results", results(root)),
        "degrees": ("degrees", turned),
        "turn-floor": ("turn_floor", turned),
        "upright": ("upright", result("upright_heads")),
        "asked": ("asked", result("asked_amounts")["rows"]),
        "convolution-model": ("convolution_model", convolution_model(result("convolution_model"))),
        "convolution-layers": ("convolution_layers", convolution_layers(result("convolution_model"))),
        "convolution-blocks": ("convolution_blocks", convolution_blocks(result("conv_occupancy"))),
        "cpu": ("cpu", cpu(result("cpu_mobilestylegan"), result("cpu_stylegan2"), result("cpu_delta"))),
    }


def editor_tables(sets: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Return the tables of how good the editors are, from the sets of faces of a report."""
    sampled = at_changes(sets["sampled"])
    return {
        "editors": ("editors", sampled),
        "sampled": ("claims", sampled),
        "realism": ("realism", sampled),
        "precision": ("precision", precision(sets["sampled"])),
    }


def at_changes(tables: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each attribute and matched change of one set: ours beside the best LINEAR, cost by cost."""
    rows = []
    for attribute in sorted(tables["attributes"], key=list(TARGET_MEASURES).index):
        for at in tables["attributes"][attribute]["changes"]:
            costs = {
                "identity": {name: (v["beyond"]["mean"], v) for name, v in at["identity"].items()},
                "leak": {name: (v[LEAK]["per_unit"]["mean"], v[LEAK]) for name, v in at["leak"].items()},
                "realism": {name: (v["distance"], v) for name, v in at["realism"]["alike"].items()},
            }
            rows.append(
                {
                    "attribute": attribute,
                    "by": f"{at['change']:g}{'°' if at['turn_itself'] else ''}",
                    "brought": at["brought"][OURS],
                    "faces": at["faces_each_way"],
                    "distance": at["identity"][OURS]["distance"],
                    "alike": at["realism"]["alike"],
                    **{cost: _claim(of) for cost, of in costs.items()},
                }
            )
    return rows


def _claim(costs: dict[str, tuple[float | None, dict[str, Any]]]) -> dict[str, Any] | None:
    """Return the ratio of ours to the best LINEAR's and whose that is; None where there is none to compare with."""
    best = best_linear({name: cost for name, (cost, _) in costs.items() if cost is not None and name in _WHO})
    ratio = costs[best][1]["ratio"] if best else None
    return None if ratio is None or ratio["high"] is None else {"who": _WHO[best or LINEAR], "ratio": ratio}


def precision(tables: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each attribute of one set of faces: what our editor does along alpha."""
    rows = []
    for attribute in sorted(tables["attributes"], key=list(TARGET_MEASURES).index):
        entry = tables["attributes"][attribute]
        own, ends = entry["precision"][OURS], entry.get("range_end")
        rows.append(
            {
                "attribute": attribute,
                "change": change(attribute, own["total_change"], own["unedited_mean"]),
                "monotone": own["monotone"]["mean"],
                "distance_at_1": own["distance_at_1"],
                "at_end": ends and {"faces": len(ends["faces"]), "monotone": ends["monotone_of_others"][OURS]["mean"]},
            }
        )
    return rows


def ablation(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of one precise_ablation, the paper's loss first."""
    attribute = found["settings"]["attribute"]
    rows = []
    for name in sorted(found["rows"], key=["paper", "default", "identity=0", "kept=0", "kept=3"].index):
        row = found["rows"][name]
        mean = row["change"]["mean"]
        rows.append(
            {
                **row,
                "attribute": attribute,
                "loss": _LOSSES.get(name, f"precise, {name}"),
                "change": f"{mean:.1f}°" if attribute == "yaw" else f"{mean:.3f}",
            }
        )
    return rows


_LINEAR_OF = (
    ("two heads, refined", "linear_of_two-heads"),
    ("fifty identities, encoder", "linear_of_sequences"),
)


def linear_of(latents: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return the row of one set of latents: what LINEAR of it does between α = −0.5 and 0.5."""
    row: dict[str, Any] = {"latents": latents}
    for attribute in ("yaw", "light"):
        own = found["editors"][attribute]["linear"]
        low, high = own["alphas"].index(-0.5), own["alphas"].index(0.5)
        row[attribute] = {
            "change": own["target_mean"][high] - own["target_mean"][low],
            "distance": (own["identity_distance"][low] + own["identity_distance"][high]) / 2,
            "monotone": own["monotone_share"],
        }
    return row


def delta_ablation(settings: dict[str, Any]) -> list[tuple[str, float]]:
    """Return setting and error on identities left out, the default first, as many of a kind in rising order."""
    kinds = ["width", "dim", "identities", "noise_encoder", "noise_decoder", "lambda_a"]

    def place(name: str) -> tuple[int, float]:
        kind, _, value = name.partition("=")
        return kinds.index(kind), float(value)

    rows = [("default: 42 identities, width 32, dim 16, noise 0.1 and 0.5, λ1 = λ2 = 1", settings["default"])]
    rows += [
        (name, settings[name]) for name in sorted((n for n in settings if n.partition("=")[0] in kinds), key=place)
    ]
    return [(name, entry["mean"]["transfer"]) for name, entry in rows]


def cpu(mobile: dict[str, Any], stylegan2: dict[str, Any], delta: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of what takes how long on a CPU: ours, and the others of the same run."""
    rows = []
    named = {"torch.compile": "plain torch, NHWC, torch.compile", "onnxruntime": "onnxruntime"}
    named |= {"OpenVINO": "OpenVINO, latency", "plain torch": None}
    for what, way in (
        ("MobileStyleGAN-FFHQ, 1024², one image", "forward"),
        ("its gradient for the latent", "backward"),
    ):
        times = {row["contender"]: row["median_s"] for row in mobile[way]}
        plain = min(time for name, time in times.items() if name in ("plain torch, NCHW", "plain torch, NHWC"))
        others = [(name, plain if key is None else times.get(key)) for name, key in named.items()]
        rows.append(_row(what, times["deltafast"], [(name, time) for name, time in others if time is not None]))
    for what, batch in (("StyleGAN2 config E, 256², one image", "1"), ("the same, batch 8", "8")):
        entry = stylegan2["batches"][batch]
        times = {name: values["median"] for name, values in entry["seconds"].items()}
        others = [("stylegan2-ada's operations", times[entry["best_plain_baseline"]])]
        others += [("torch's convolutions alone", next(t for name, t in times.items() if "convolutions alone" in name))]
        others += [("torch.compile", t) for name, t in times.items() if "torch.compile" in name]
        rows.append(_row(what, times["deltafast"], others))
    found = delta["results"]
    for pairs in ("8", "64"):
        entry = found[f"training step, {pairs} pairs of identities"]
        what = f"a training step of E and D, {pairs} pairs of heads"
        rows.append(_row(what, entry["deltafast"]["median_s"], [("plain torch", entry["plain torch"]["median_s"])]))
    entry = found["edit, 1024 latents"]
    rows.append(
        _row("1024 latents edited", entry["deltafast"]["median_s"], [("plain torch", entry["plain torch"]["median_s"])])
    )
    return rows


def _row(what: str, ours: float, others: list[tuple[str, float]]) -> dict[str, Any]:
    return {"what": what, "ours": _milliseconds(ours), "others": [(name, _milliseconds(t)) for name, t in others]}


def _milliseconds(seconds: float) -> str:
    """Write seconds as milliseconds: below 20 with one decimal."""
    value = 1e3 * seconds
    return f"{value:.1f}" if value < 20 else f"{value:.0f}"


_KINDS = {
    "tuning": "sampled, seeds from 1000 on",
    "sampled": "sampled, others",
    "photo": "portraits and one photograph",
    "head, by its pixels": "rendered heads, by their pixels",
    "head, turned": "rendered heads, truly turned",
}


def likeness_edits(edits: dict[str, Any]) -> list[dict[str, Any]]:
    """Return for each edit of tuned photos its figures beside those of the same latents' plain edits and LINEAR's."""
    return [
        {
            "edit": edit,
            "latents": latents,
            "plain": ways[latents],
            "tuned": ways[f"tuned on {latents}"],
            "matched": ways[f"matched on {latents}"],
            "linear": ways[f"LINEAR on {latents}"],
        }
        for edit, ways in edits.items()
        for latents in ("quick", "refined")
    ]


def turned_faces(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each kind of face that was turned: how many, and what readers and descriptors make of it."""
    counts = {kind: sum(row["kind"] == kind for row in found["faces"]) for kind in _KINDS}
    return [
        {"faces": title, "n": counts[kind], "readers": found["readers"][kind], "floor": found["floor"][kind]}
        for kind, title in _KINDS.items()
        if counts[kind] > 1
    ]


def found_faces(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each condition: how many faces each way finds and reads right, wrong or with a doubt."""
    conditions: dict[str, dict[str, Any]] = measured["conditions"]
    return [{"condition": f"{name}°" if name[-1].isdigit() else name, **one} for name, one in conditions.items()]


def results(root: Path) -> list[dict[str, str]]:
    """Return file, date, commit (12 digits, and "+" where the checkout had changes) and command of every result."""
    rows = []
    for path in [root / "docs/evaluation/report.json", *sorted((root / _RESULTS).glob("*.json"))]:
        found = read_json(path)
        run = found.get("run") if isinstance(found, dict) else None
        if run is not None and {"commit", "date", "command"} <= set(run):
            commit = run["commit"] or "unknown"
            short = commit[:12] + ("+" if commit.endswith("+") else "")
            rows.append({"file": path.name, "date": run["date"], "commit": short, "command": run["command"]})
    return rows


def convolution_model(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each network, batch and GPU of the model on paper: all convolutions, in milliseconds."""
    rows = []
    for name, entry in report["networks"].items():
        network, gpu = name.rsplit(", ", 1)
        seconds = entry["seconds"]
        rows.append({"network": network, "gpu": gpu, "cudnn": 1e3 * seconds["cudnn"]})
        rows[-1] |= {"faster": 1e3 * seconds["the faster"], "ratio": seconds["speed-up"]}
    return rows


def convolution_layers(report: dict[str, Any]) -> dict[str, Any]:
    """Return GPUs and the layers of config F at batch 16: cuDNN's microseconds, the fastest path's, and which it is."""
    network, gpus = "StyleGAN2 config F, 1024, batch 16", list(report["gpus"])
    of_gpu = {gpu: report["networks"][f"{network}, {gpu}"]["layers"] for gpu in gpus}
    rows = []
    for layers in zip(*of_gpu.values(), strict=True):
        if layers[0]["resolution"] >= _LEAST_RESOLUTION:
            times = [(1e6 * layer["seconds"]["cudnn"], 1e6 * min(layer["seconds"].values())) for layer in layers]
            cells = [{"cudnn": a, "best": b, "path": of["faster"]} for (a, b), of in zip(times, layers, strict=True)]
            rows.append({"name": layers[0]["name"], "channels": (layers[0]["inputs"], layers[0]["outputs"])})
            rows[-1]["cells"] = cells
    return {"gpus": gpus, "rows": rows}


def convolution_blocks(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each kernel in fp16: registers, shared memory and blocks an SM, by architecture."""
    rows: dict[str, dict[str, Any]] = {}
    for kernel in report["kernels"]:
        if kernel["dtype"] == "float16":
            row = rows.setdefault(kernel["name"], {"name": kernel["name"], "threads": kernel["threads"], "on": []})
            row["shared"] = (kernel["shared_bytes_of_one_chunk"] / 1024, kernel["shared_bytes"] / 1024)
            row["on"].append((kernel["architecture"], kernel["registers"], kernel["blocks"]))
    return list(rows.values())
