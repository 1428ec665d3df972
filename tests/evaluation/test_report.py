"""A whole report: every table and figure, from kept readings the second time, refusing what cannot be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_faces import DrawnMeter, editor_of, sequences_of

from deltafast.errors import InvalidInputError
from deltafast.evaluation import evaluate as evaluation
from deltafast.evaluation import range_ends, realism
from deltafast.evaluation.evaluate import evaluate
from deltafast.evaluation.face_sets import face_set_of_latents, face_set_of_seeds
from deltafast.evaluation.feature_networks import FeatureNetwork
from deltafast.evaluation.markdown import count_verdicts, report_page
from deltafast.evaluation.methods import UserDirection
from deltafast.evaluation.networks import network_roles
from deltafast.evaluation.readings import FaceReader
from deltafast.evaluation.settings import RIDGE_SEED, EvaluationInputs, EvaluationSettings
from deltafast.evaluation.verdicts import verdicts
from deltafast.files import read_image
from deltafast.generators.base import Generator

SETTINGS = EvaluationSettings(
    sweep_faces=3,
    changes={"yaw": (1.0, 2.0), "smile": (0.02,)},  # no face of this generator smiles by that
    change_at_one={"yaw": 1.3, "smile": 0.02},
    pool_faces=30,
    calibration_faces=2,
    ridge_samples=12,
    consistency_faces=2,
    sheet_faces=2,
    path_faces=3,
    components=2,
    component_faces=2,
    scatter_faces=20,
)
FACES = 6


@pytest.fixture
def inputs(tiny_generator: Generator, coarse_network: FeatureNetwork, tmp_path: Path) -> EvaluationInputs:
    """Two trained editors, two sets of faces, a direction of somebody else, and two networks that say the same."""
    networks = [coarse_network, replace(coarse_network, name="MobileNetV2", key="again")]
    sequences = sequences_of(tiny_generator)
    return EvaluationInputs(
        generator=tiny_generator,
        reader=FaceReader(tiny_generator, DrawnMeter(), tmp_path / "readings", networks=networks),  # type: ignore[arg-type]
        meter=DrawnMeter(),  # type: ignore[arg-type]
        faces=[
            face_set_of_seeds(tiny_generator, range(FACES), 0.7),
            face_set_of_latents(tiny_generator, [("mine", torch.randn(2, tiny_generator.w_dim))]),
        ],
        editors=[("yaw", editor_of(sequences, "yaw")), ("smile", editor_of(sequences, "smile"))],
        sequences=sequences,
        directions=[UserDirection("yaw", "interface", torch.randn(1, tiny_generator.w_dim))],
        settings=SETTINGS,
    )


@pytest.mark.slow
def test_a_report_has_every_table_and_figure_and_is_read_once(
    inputs: EvaluationInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realism, "_MIN_FACES", 3)
    monkeypatch.setitem(range_ends.RANGE_ENDS, "yaw", -1)
    report = evaluate(tmp_path / "report", inputs)
    assert json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8")) == report
    sampled = report["sets"]["sampled"]
    assert sampled["faces"]["seeds"] == list(range(FACES))
    assert set(sampled["attributes"]) == {"yaw", "smile"}
    yaw = sampled["attributes"]["yaw"]
    methods = ["ours", "linear", "linear-two-heads", "linear-ridge", "user-interface"]
    assert list(report["attributes"]["yaw"]["methods"]) == methods
    assert list(yaw["precision"]) == methods
    assert yaw["precision"]["ours"]["faces"] == SETTINGS.sweep_faces
    assert set(yaw["range_end"]["faces"]) <= {f"seed {seed}" for seed in range(SETTINGS.sweep_faces)}
    assert [at["change"] for at in yaw["changes"]] == [1, 2]
    at = yaw["changes"][0]
    assert set(at["brought"]) == set(methods)
    assert set(at["identity"]) == set(at["leak"]) == set(at["realism"]["unedited"])
    assert set(at["identity"]) | set(at["left_out"]) == set(methods)
    assert at["brought"]["ours"] > 0.5
    assert at["identity"]["ours"]["distance"]["n"] <= FACES
    assert max(at["realism"]["faces"]["alike"]) >= 3  # of the pool as many are turned so far anyway
    assert at["realism"]["alike"]["ours"]["distance"] == at["realism_by_others"]["again"]["alike"]["ours"]["distance"]
    assert sampled["attributes"]["smile"]["changes"][0]["faces_each_way"] == [0, 0]
    assert sampled["attributes"]["smile"]["changes"][0]["realism"]["alike"] == {}
    assert {group for group, entry in sampled["groups"].items() if entry["methods"]} <= {"Pose", "Expression"}
    # the heads were rendered and asked for by those who promise a value, and nothing by those who do not
    assert set(yaw["requested"]) == {"ours", "linear", "linear-two-heads"}
    rows = yaw["requested"]["ours"]["rows"]
    assert [row["value"] for row in rows] == [row["requested"] for row in rows] == [-35, -17.5, 17.5, 35]
    # LINEAR adds up exactly; the trained editor undoes itself less than exactly
    consistency = report["consistency"]["latents"]["yaw"]
    assert consistency["linear"]["halves"]["mean"] < 1e-5
    assert consistency["ours"]["undo"]["mean"] > 1e-4
    assert consistency["ours"]["undo_by_encoding"]["mean"] > 0
    assert set(report["consistency"]["images"]["yaw"]["order"]) == {"smile"}
    assert report["delta_space"]["smile"]["deltas"] == 4 * 6
    assert report["paths"]["yaw"]["bend"] > 0
    for file in report["figures"]:
        assert read_image(tmp_path / "report" / file).ndim == 3
    page = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    titles = ("Which network was used where", "ours / this", "Table 2", "Table 1", "### Precision", "### Leak")
    for wanted in (*titles, "## Consistency", "passes them all by construction", "Brought"):
        assert wanted in page
    compared = [group for one in report["sets"].values() for group in one["groups"].values() if group["methods"]]
    assert ("theirs, not comparable" in page) == bool(compared)  # the paper's rows stand beside ours or not at all
    for file in report["figures"]:
        assert f"]({file})" in page
    inputs.reader.synthesised = 0
    monkeypatch.setattr(evaluation, "draw_figures", lambda *_: {"figures": {}, "paths": {}})
    again = evaluate(tmp_path / "again", inputs)
    assert again["images_synthesised"] == 0
    assert again["sets"] == report["sets"]
    assert again["consistency"] == report["consistency"]


def test_linear_alone_is_measured_without_an_editor(inputs: EvaluationInputs, tmp_path: Path) -> None:
    alone = replace(inputs, editors=[], directions=[], linear_of=["smile"], slots=[1, 2], faces=inputs.faces[:1])
    report = evaluate(tmp_path / "report", alone)
    methods = report["attributes"]["smile"]["methods"]
    assert list(methods) == ["linear", "linear-two-heads", "linear-ridge"]
    assert methods["linear"]["slots"] == [1, 2]
    assert methods["linear"]["scale"] == pytest.approx(1, abs=0.05)
    assert report["verdicts"] == []
    assert "spectrum.png" not in report["figures"]


def test_what_cannot_be_compared_is_refused(inputs: EvaluationInputs) -> None:
    with pytest.raises(InvalidInputError, match="at least one editor"):
        replace(inputs, editors=[], directions=[])
    with pytest.raises(InvalidInputError, match="no measure for attribute 'hat'"):
        replace(inputs, linear_of=["hat"])
    with pytest.raises(InvalidInputError, match="baselines are fitted to"):
        replace(inputs, faces=[face_set_of_seeds(inputs.generator, [3, RIDGE_SEED], 0.7)])
    with pytest.raises(InvalidInputError, match="needs an editor of that attribute"):
        replace(inputs, directions=[UserDirection("light", "mine", torch.ones(16))])
    with pytest.raises(InvalidInputError, match="the reader needs one"):
        replace(inputs, reader=FaceReader(inputs.generator, inputs.meter, inputs.reader.work))
    with pytest.raises(InvalidInputError, match="a name of its own"):
        replace(inputs, faces=[inputs.faces[0], inputs.faces[0]])
    with pytest.raises(InvalidInputError, match=r"this generator has \[N, 10, 16\]"):
        face_set_of_latents(inputs.generator, [("odd", torch.ones(1, 7, 16))])


METHODS = {
    "ours": "ours",
    "methods": {"linear": {"label": "LINEAR, mean"}, "linear-ridge": {"label": "LINEAR, ridge"}},
}


def figures(high: float | None, share: float, error: float) -> dict[str, object]:
    """Tables of one attribute; of two LINEARs the second is better, the interval of ours to it ends at `high`."""

    def row(mean: float, high: float | None) -> dict[str, object]:
        ratio = {"mean": 0.1 / mean, "low": 0.2, "high": high, "n": 9}
        return {"beyond": {"mean": mean}, "per_unit": {"mean": mean}, "distance": mean, "ratio": ratio}

    by_method = {"ours": row(0.1, None), "linear": row(0.5, 0.3), "linear-ridge": row(0.3, high)}
    change = {
        "change": 10.0,
        "identity": by_method,
        "leak": {name: {"leak": entry} for name, entry in by_method.items()},
        "realism": {"alike": by_method},
    }
    return {
        "changes": [change],
        "precision": {"ours": {"monotone": {"mean": share}}},
        "requested": {"ours": {"error": {"mean": error}}},
    }


def test_verdicts_are_the_upper_end_of_the_ratio_to_the_best_linear() -> None:
    tables = {"attributes": {"yaw": figures(1.01, 0.975, 2.5), "smile": figures(0.93, 0.96, 0.0)}}
    found = {entry["what"]: entry for entry in verdicts(tables, dict.fromkeys(("yaw", "smile"), METHODS))}
    for cost in ("identity", "leak", "realism"):
        assert not found[f"yaw by 10: {cost} better than the best LINEAR (LINEAR, ridge)"]["reached"]
        smile = found[f"smile by 10: {cost} better than the best LINEAR (LINEAR, ridge)"]
        assert smile["reached"]
        assert smile["figure"] == "33.3 % of LINEAR's [20.0, 93.0]: at most 93.0 %, 9 faces"
    assert found["yaw: monotone for at least 97 % of faces"]["reached"]
    assert not found["smile: monotone for at least 97 % of faces"]["reached"]
    assert found["yaw: requested angle reached within 3° on average"]["figure"] == "off by 2.50° on average"
    unknown = {"attributes": {"yaw": figures(None, 0.975, 2.5)}}
    found = {entry["what"]: entry for entry in verdicts(unknown, {"yaw": METHODS})}
    assert found["yaw by 10: leak better than the best LINEAR (LINEAR, ridge)"]["figure"] == "not measured"


def test_a_page_counts_its_comparisons(repository_root: Path) -> None:
    found = {"a": [{"ours_is": "better"}, {"ours_is": "equal"}], "b": {"c": {"ours_is": "better"}}}
    assert count_verdicts(found) == {"made": 3, "better": 2, "equal": 1, "worse": 0}
    report = json.loads((repository_root / "docs" / "evaluation" / "report.json").read_text(encoding="utf-8"))
    made = count_verdicts(report)["made"]
    assert made > 100
    assert f"This report makes {made} comparisons" in report_page(report)


def test_no_network_judges_what_it_trains_or_steers() -> None:
    for row in network_roles("EfficientNet-Lite0 (ImageNet), 320 features"):
        assert "-" in (row["judges"], row["trains or steers"]) or row["network"] == "dlib's 68 landmarks"
    (mobilenet,) = (row for row in network_roles("MobileNetV2 (ImageNet)") if row["network"] == "MobileNetV2")
    assert "though it steers" in mobilenet["judges"]


def test_a_face_is_a_seed(tiny_generator: Generator) -> None:
    faces = face_set_of_seeds(tiny_generator, [4, 9], 0.5)
    assert faces.labels == ("seed 4", "seed 9")
    np.testing.assert_array_equal(faces.latents[1], face_set_of_seeds(tiny_generator, [9], 0.5).latents[0])
