"""The command line as people meet it: help that is quick, mistakes in one line, Ctrl-C that loses nothing."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import deltafast
from deltafast.cli import app, command_names
from deltafast.errors import DeltafastError

_RUN = [sys.executable, "-c", "from deltafast.cli import main; main()"]


def _start(*arguments: str) -> subprocess.Popen[str]:
    def listen_to_ctrl_c() -> None:  # shells start background jobs with it ignored, and children inherit that
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    command = [*_RUN, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=listen_to_ctrl_c)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_RUN, *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_every_command_is_there() -> None:
    assert command_names() == [
        "align",
        "animate",
        "app",
        "demo",
        "edit",
        "editors",
        "evaluate",
        "forget",
        "info",
        "project",
        "render",
        "sequences",
        "train",
        "train-encoder",
    ]


@pytest.mark.parametrize("name", command_names())
def test_every_command_explains_itself_and_its_options(name: str) -> None:
    module = importlib.import_module(f"deltafast.cli.{name.replace('-', '_')}")
    command = getattr(module, name.replace("-", "_"))
    assert (command.__doc__ or "").strip().endswith(".")
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    described = typer.main.get_command(app).commands[name].params  # type: ignore[attr-defined]
    silent = [parameter.name for parameter in described if not getattr(parameter, "help", None)]
    assert not silent, f"parameters of {name} without a help text"


def test_help_and_version_load_nothing_heavy() -> None:
    program = (
        "import sys; from deltafast.cli import app; from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "print(' '.join(sorted({'torch', 'scipy', 'skimage', 'matplotlib', 'PIL', 'dlib'} & set(sys.modules))))"
    )
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert seen.stdout.strip() == ""
    assert CliRunner().invoke(app, ["--version"]).stdout == f"deltafast {deltafast.__version__}\n"


def test_a_mistake_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    seen = _run("train-encoder", str(tmp_path / "absent.pkl"), str(tmp_path / "out"))
    assert seen.returncode == 1
    assert seen.stderr.startswith("error: ")
    assert "absent.pkl" in seen.stderr
    assert "Traceback" not in seen.stderr
    assert seen.stdout == ""


def test_an_unknown_command_or_option_is_a_usage_error() -> None:
    for arguments in (["fold"], ["info", "--fold"]):
        seen = CliRunner().invoke(app, arguments)
        assert seen.exit_code == 2
        assert "fold" in seen.output


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from deltafast.cli import info

    def broken() -> None:
        raise ZeroDivisionError("a defect, not a mistake")

    monkeypatch.setattr(info, "_facts", broken)
    assert isinstance(CliRunner().invoke(app, ["info"]).exception, ZeroDivisionError)
    assert not issubclass(ZeroDivisionError, DeltafastError)


def test_ctrl_c_says_that_the_work_is_kept_and_the_same_command_finishes_it(tmp_path: Path) -> None:
    out = tmp_path / "sequences"
    command = ("render", str(out), "--attribute", "yaw", "--frames", "5")
    process = _start(*command)
    deadline = time.monotonic() + 60
    while not list(out.rglob("*.png")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in errors
    assert "Traceback" not in errors
    assert not [name for _, _, names in os.walk(out) for name in names if name.endswith(".tmp")]
    kept = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert kept
    assert not (out / "manifest.json").exists()
    finished = _run(*command)
    assert finished.returncode == 0, finished.stderr
    assert (out / "manifest.json").is_file()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_info_names_what_matters_and_is_json_on_request() -> None:
    plain = CliRunner().invoke(app, ["info"])
    assert plain.exit_code == 0, plain.output
    for word in ("deltafast", "extension", "torch", "cpu", "cuda", "cache", "bundled editors"):
        assert word in plain.stdout
    facts = json.loads(CliRunner().invoke(app, ["info", "--json"]).stdout)
    assert facts["deltafast"] == deltafast.__version__
    assert Path(facts["extension"]["file"]).is_file()


def test_info_reports_a_missing_extension_and_fails() -> None:
    program = "import sys; sys.modules['deltafast._C'] = None; from deltafast.cli import main; main()"
    command = [sys.executable, "-c", program, "info"]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert seen.returncode == 1
    assert "Build it with `pip install .`" in seen.stdout
    assert "Traceback" not in seen.stderr
