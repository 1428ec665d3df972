"""`deltafast render`: chosen attributes only, of the same people whichever are chosen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deltafast.cli import app
from deltafast.files import sha256_file
from deltafast.synthetic import ATTRIBUTES

_SMALL = ["--identities", "1", "--frames", "3", "--size", "16", "--processes", "1"]


def _rendered(out: Path, *attributes: str) -> dict[str, str]:
    chosen = [word for name in attributes for word in ("--attribute", name)]
    result = CliRunner().invoke(app, ["render", str(out), *_SMALL, *chosen])
    assert result.exit_code == 0, result.output
    return {str(path.relative_to(out)): sha256_file(path) for path in out.rglob("*.png")}


def test_only_the_chosen_attributes_are_rendered_and_of_the_same_people(tmp_path: Path) -> None:
    both = _rendered(tmp_path / "both", "light-elevation", "mouth-open")
    one = _rendered(tmp_path / "one", "mouth-open")
    assert {name.split("/")[0] for name in both} == {"mouth-open", "light-elevation"}
    assert len(one) == 3 * 3
    assert one.items() <= both.items()
    people = [json.loads((tmp_path / name / "manifest.json").read_text())["identities"] for name in ("both", "one")]
    assert people[0] == people[1]


def test_the_help_names_every_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    shown = CliRunner().invoke(app, ["render", "--help"]).output
    assert all(name in shown for name in ATTRIBUTES)
