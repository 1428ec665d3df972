"""`deltafast evaluate`: the quick report on the real generator, and what its options refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deltafast.cli import app
from deltafast.cli.evaluate import _DEFAULT_EDITORS
from deltafast.delta import list_editors
from deltafast.delta.amounts import UNREAD
from deltafast.evaluation.settings import EvaluationSettings
from deltafast.faces.meter import FaceMeter
from deltafast.files import read_image, read_json
from deltafast.generators.base import Generator
from deltafast.generators.seeds import latents_from_seeds


@pytest.mark.slow
def test_the_quick_report_has_every_table_and_figure(
    mobilestylegan: Generator, meter: FaceMeter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quicker = {"sweep_faces": 1, "pool_faces": 2, "calibration_faces": 1, "consistency_faces": 1, "component_faces": 1}
    quicker |= {"changes": {"yaw": (10.0,)}, "ridge_samples": 4, "sheet_faces": 1, "components": 1, "scatter_faces": 30}
    settings = replace(EvaluationSettings.quick(), **quicker)  # type: ignore[arg-type]
    monkeypatch.setattr(EvaluationSettings, "quick", lambda: settings)
    command = ["evaluate", str(tmp_path / "report"), "--quick", "--seeds", "0-1", "--editor", "yaw", "--processes", "1"]
    # a face that is among the sampled ones as well: whatever is read of it is read once
    np.save(tmp_path / "private.npy", latents_from_seeds(mobilestylegan, [0], 0.7).numpy())
    command += ["--latents", str(tmp_path / "private.npy"), "--hide-photos"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "yaw: requested angle reached within 3°" in done.output
    report = read_json(tmp_path / "report" / "report.json")
    assert report["images_synthesised"] < 90
    yaw = report["sets"]["sampled"]["attributes"]["yaw"]
    assert set(yaw["precision"]) == {"ours", "linear", "linear-two-heads", "linear-ridge"}
    # a bundled editor of yaw turns real faces, most of them by more than ten degrees, and keeps who they are
    assert yaw["precision"]["ours"]["monotone"]["mean"] == 1
    assert yaw["precision"]["ours"]["total_change"]["mean"] > 10
    (change,) = yaw["changes"]
    assert change["brought"]["ours"] == 1
    different = report["sets"]["sampled"]["between_different_faces"]["mean"]
    assert change["identity"]["ours"]["distance"]["mean"] < different
    # the rendered heads turn by what they are told to, and are read to turn about that far
    for row in yaw["requested"]["ours"]["rows"]:
        assert row["requested"] == row["value"] == pytest.approx(row["on_heads"], abs=4)
    assert report["network"]["name"].startswith("EfficientNet-Lite0")
    assert report["consistency"]["latents"]["yaw"]["linear"]["undo"]["mean"] < 1e-5
    assert {"paths.png", "scatter.png", "spectrum.png", "components.jpg", "sampled-yaw.jpg"} <= set(report["figures"])
    assert report["sets"]["latents"]["faces"]["count"] == 1
    assert not [file for file in report["figures"] if file.startswith("latents") and file.endswith(".jpg")]  # hidden
    assert not list((tmp_path / "report").glob("latents*.jpg"))
    for file in report["figures"]:
        assert read_image(tmp_path / "report" / file).ndim == 3


def test_all_bundled_editors_that_can_be_read_are_judged_where_none_is_named() -> None:
    assert sorted(_DEFAULT_EDITORS) == sorted(set(list_editors()) - UNREAD)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tuning", "--seeds", "0-3"], "from seed 1000 on only; got 0-3"),
        (["--tuning"], "from seed 1000 on only; got those of the report"),
        (["--seeds", "a"], "cannot read 'a'"),
        (["--direction", "pose.npy"], "ATTRIBUTE=FILE"),
        (["--direction", "yaw=missing.npy"], "missing.npy cannot be read"),
        (["--latents", "nowhere"], "nowhere"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_read(options: list[str], message: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(tmp_path / "out"), *options])
    assert done.exit_code == 1
    assert message in done.output
    assert not (tmp_path / "out").exists()
