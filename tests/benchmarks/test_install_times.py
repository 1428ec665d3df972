"""The program that times an installation makes one clone, and keeps what it has measured when a step fails."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks import install_times
from deltafast.files import read_json


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, repository_root: Path) -> list[list[str]]:
    """What would be typed, in its order; every step takes two seconds."""
    words: list[list[str]] = []

    def run(command: list[str], folder: Path, **variables: str) -> float:
        assert (folder / "Makefile").is_file()
        words.append(command)
        return 2.0

    def clone_to(folder: Path) -> None:
        folder.mkdir()
        for name in ("Makefile", "constraints.txt"):
            shutil.copy(repository_root / name, folder)

    monkeypatch.setattr(install_times, "clone_to", clone_to)
    monkeypatch.setattr(install_times, "run", run)
    monkeypatch.setattr(install_times, "torch_of", lambda python, folder: "2.13.0")
    monkeypatch.setattr(install_times, "import_time", lambda python, folder: 0.25)
    monkeypatch.setattr(install_times.sys, "executable", "/usr/bin/true")  # no environment is made
    return words


def test_what_ci_runs_comes_first_and_every_word_is_typed_once(
    typed: list[list[str]], tmp_path: Path, repository_root: Path
) -> None:
    assert install_times.main(["--out", str(tmp_path / "times.json")]) == 0
    seconds = read_json(tmp_path / "times.json")["seconds"]
    assert len(seconds) == 7
    assert seconds["import deltafast beyond import torch"] == 0.25
    lines = [" ".join(words) for words in typed]
    script = (repository_root / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == [line for line in script if line.startswith("make ")]
    assert lines[2:4] == ["make demo", "make demo"]
    assert lines[4].endswith("pip install --quiet torch==2.13.0")
    assert lines[5].endswith("pip install --quiet .")


def test_a_step_that_fails_leaves_what_was_measured_before(
    typed: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = iter(["2.13.0", "2.14.0"])
    monkeypatch.setattr(install_times, "torch_of", lambda python, folder: next(versions))
    assert install_times.main(["--out", str(tmp_path / "times.json")]) == 1
    assert "changed the torch" in capsys.readouterr().err
    assert "make test" in read_json(tmp_path / "times.json")["seconds"]

    def fails(command: list[str], folder: Path, **variables: str) -> float:
        raise subprocess.CalledProcessError(2, command)

    monkeypatch.setattr(install_times, "run", fails)
    assert install_times.main(["--out", str(tmp_path / "none.json")]) == 1
    assert not (tmp_path / "none.json").exists()
