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
from deltafast.evaluation.evaluate import evaluate
from deltafast.evaluation.face_sets import face_set_of_latents, face_set_of_seeds
from deltafast.evaluation.feature_networks import FeatureNetwork
from deltafast.evaluation.markdown import count_verdicts, report_page, with_new_words
from deltafast.evaluation.methods import UserDirection
from deltafast.evaluation.networks import network_roles
from deltafast.evaluation.readings import FaceReader
from deltafast.evaluation.settings import RIDGE_SEED, EvaluationInputs, EvaluationSettings
from deltafast.evaluation.verdicts import verdicts
from deltafast.files import read_image
from deltafast.generators.base import Generator

SETTINGS = EvaluationSettings(
    calibration_faces=2,
    ridge_samples=12,
    consistency_faces=2,
    sheet_faces=2,
    path_faces=3,
    components=2,
    component_faces=2,
    scatter_faces=20,
)


@pytest.fixture
def inputs(tiny_generator: Generator, drawn_reader: FaceReader, coarse_network: FeatureNetwork) -> EvaluationInputs:
    """Two trained editors, two sets of faces, and a direction of somebody else."""
    sequences = sequences_of(tiny_generator)
    return EvaluationInputs(
        generator=tiny_generator,
        reader=drawn_reader,
        meter=DrawnMeter(),  # type: ignore[arg-type]
        network=coarse_network,
        faces=[
            face_set_of_seeds(tiny_generator, range(5), 0.7),
            face_set_of_latents(tiny_generator, [("mine", torch.randn(2, tiny_generator.w_dim))]),
        ],
        editors=[("yaw", editor_of(sequences, "yaw")), ("smile", editor_of(sequences, "smile"))],
        sequences=sequences,
        directions=[UserDirection("yaw", "interface", torch.randn(1, tiny_generator.w_dim))],
        settings=SETTINGS,
    )


@pytest.mark.slow
def test_a_report_has_every_table_and_figure_and_is_read_once(inputs: EvaluationInputs, tmp_path: Path) -> None:
    report = evaluate(tmp_path / "report", inputs)
    assert json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8")) == report
    sampled = report["sets"]["sampled"]
    assert sampled["faces"]["seeds"] == list(range(5))
    assert set(sampled["attributes"]) == {"yaw", "smile"}
    yaw = sampled["attributes"]["yaw"]
    methods = ["ours", "linear", "linear-two-heads", "linear-ridge", "user-interface"]
    assert list(report["attributes"]["yaw"]["methods"]) == methods
    assert list(yaw["precision"]) == methods
    assert set(yaw["realism"]) == set(methods)
    assert set(yaw["identity"]) | set(yaw["matched"]["left_out"]) == set(methods)
    assert set(sampled["groups"]) == {"Pose", "Expression"}
    # the heads were rendered and asked for by those who promise a value, and nothing by those who do not
    assert set(yaw["requested"]) == {"ours", "linear", "linear-two-heads"}
    assert [row["value"] for row in yaw["requested"]["ours"]["rows"]] == [-35, -17.5, 17.5, 35]
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
    titles = ("Which network was used where", "Ours / this", "Table 2", "Table 1", "### Precision", "### Leak")
    for wanted in (*titles, "## Consistency", "theirs, not comparable"):
        assert wanted in page
    for file in report["figures"]:
        assert f"]({file})" in page
    inputs.reader.synthesised = 0
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
    with pytest.raises(InvalidInputError, match="a name of its own"):
        replace(inputs, faces=[inputs.faces[0], inputs.faces[0]])
    with pytest.raises(InvalidInputError, match=r"this generator has \[N, 10, 16\]"):
        face_set_of_latents(inputs.generator, [("odd", torch.ones(1, 7, 16))])


METHODS = {
    "ours": "ours",
    "methods": {"linear": {"label": "LINEAR, mean"}, "linear-ridge": {"label": "LINEAR, ridge"}},
}


def figures(verdict: str, share: float, error: float) -> dict[str, object]:
    """Tables of one attribute with a verdict against two LINEARs, of which the second is the better one."""

    def row(mean: float) -> dict[str, object]:
        difference = {"mean": 0.1 - mean, "low": 0.05 - mean, "high": 0.15 - mean, "n": 9}
        return {"distance_at_end": {"mean": mean}, "per_unit": {"mean": mean}, "ours_minus_this": difference}

    first, second = {**row(0.5), "ours_is": "better"}, {**row(0.3), "ours_is": verdict}
    return {
        "identity": {"ours": row(0.1), "linear": first, "linear-ridge": second},
        "leak": {"ours": {"leak": row(0.1)}, "linear": {"leak": first}, "linear-ridge": {"leak": second}},
        "precision": {"ours": {"monotone": {"mean": share}}},
        "requested": {"ours": {"nominal_error": {"mean": error}}},
    }


def test_verdicts_are_against_the_best_linear() -> None:
    tables = {"attributes": {"yaw": figures("equal", 0.975, 2.5), "smile": figures("better", 0.96, 0.0)}}
    found = {entry["what"]: entry for entry in verdicts(tables, dict.fromkeys(("yaw", "smile"), METHODS))}
    assert not found["yaw: identity better than the best LINEAR (LINEAR, ridge)"]["reached"]
    assert found["smile: leak better than the best LINEAR (LINEAR, ridge)"]["reached"]
    assert found["yaw: monotone for at least 97 % of faces"]["reached"]
    assert not found["smile: monotone for at least 97 % of faces"]["reached"]
    assert found["yaw: requested angle reached within 3° on average"]["figure"] == "off by 2.50° on average"
    assert (
        "equal: ours - LINEAR -0.2 [-0.25, -0.15]"
        in found["yaw: identity better than the best LINEAR (LINEAR, ridge)"]["figure"]
    )


def test_a_page_counts_its_comparisons_and_reads_old_words(repository_root: Path) -> None:
    found = {"a": [{"ours_is": "better"}, {"ours_is": "equal"}], "b": {"c": {"ours_is": "better"}}}
    assert count_verdicts(found) == {"made": 3, "better": 2, "equal": 1, "worse": 0}
    assert with_new_words([{"asked": {"rows": [{"asked": 1}]}}]) == [{"requested": {"rows": [{"requested": 1}]}}]
    old = json.loads((repository_root / "docs" / "evaluation" / "report.json").read_text(encoding="utf-8"))
    made = count_verdicts(old)["made"]
    assert made > 100
    assert f"This report makes {made} comparisons" in report_page(old)


def test_no_network_judges_what_it_trains_or_steers() -> None:
    for row in network_roles("EfficientNet-Lite0 (ImageNet), 320 features"):
        assert "-" in (row["judges"], row["trains or steers"]) or row["network"] == "dlib's 68 landmarks"
    (mobilenet,) = (row for row in network_roles("MobileNetV2 (ImageNet)") if row["network"] == "MobileNetV2")
    assert "though it steers" in mobilenet["judges"]


def test_a_face_is_a_seed(tiny_generator: Generator) -> None:
    faces = face_set_of_seeds(tiny_generator, [4, 9], 0.5)
    assert faces.labels == ("seed 4", "seed 9")
    np.testing.assert_array_equal(faces.latents[1], face_set_of_seeds(tiny_generator, [9], 0.5).latents[0])
