"""What a run keeps: settings that are compared, results that know what they were made of, state that is of one work."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from deltafast import runs
from deltafast.errors import DiskError, InvalidInputError, ResumeError
from deltafast.files import read_json, write_json
from deltafast.runs import Run, begin_or_resume, file_identity, forget_results, load_state, save_state

_COMMAND = "edit"


def test_a_run_goes_on_with_its_own_settings_and_names_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "run" / "settings.json"
    begin_or_resume(path, {"steps": 3, "slots": (1, 2)})
    begin_or_resume(path, {"slots": (1, 2), "steps": 3})
    begin_or_resume(path, {"slots": (1, 2), "steps": 3, "new": None})  # a later release's option, not used
    with pytest.raises(ResumeError, match=r"other settings \(seed, steps\)"):
        begin_or_resume(path, {"steps": 4, "slots": (1, 2), "seed": 0})
    write_json(path, [])
    with pytest.raises(ResumeError, match="other settings"):
        begin_or_resume(path, {})


def _finish(run: Run, name: str, source: Path) -> None:
    result = run.folder / f"{name}.png"
    result.write_bytes(b"result")
    run.finish(name, file_identity(source), [result])


def test_a_finished_result_knows_its_input_and_settings(tmp_path: Path) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    photo.write_bytes(b"first")
    run = Run(out, _COMMAND, {"generator": "one"})
    assert not run.is_finished("photo", file_identity(photo))
    _finish(run, "photo", photo)
    assert Run(out, _COMMAND, {"generator": "one"}).is_finished("photo", file_identity(photo))
    photo.write_bytes(b"other")  # as long, another picture
    assert not Run(out, _COMMAND, {"generator": "one"}).is_finished("photo", file_identity(photo))
    photo.write_bytes(b"first")
    run = Run(out, _COMMAND, {"generator": "one", "new": None})  # a later release's option, not used
    _finish(run, "photo", photo)
    assert Run(out, _COMMAND, {"generator": "one"}).is_finished("photo", file_identity(photo))
    (out / "photo.png").unlink()
    assert not run.is_finished("photo", file_identity(photo))


def test_results_of_other_settings_are_made_anew_and_the_rest_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    photo.write_bytes(b"photo")
    run = Run(out, _COMMAND, {"seed": 0})
    for name in ("a", "b"):
        _finish(run, name, photo)
    assert not capsys.readouterr().err
    run = Run(out, _COMMAND, {"seed": 1})
    assert re.search(r"2 finished outputs in .*out were made with other settings \(seed\):", capsys.readouterr().err)
    assert not run.is_finished("a", file_identity(photo))
    _finish(run, "a", photo)
    _finish(run, "c", photo)
    run = Run(out, _COMMAND, {"seed": 1})  # killed before b had its turn
    assert "1 finished outputs" in capsys.readouterr().err
    assert run.is_finished("a", file_identity(photo))
    run = Run(out, _COMMAND, {"seed": 0})  # and the first settings again: b is still theirs
    assert run.is_finished("b", file_identity(photo))
    assert not run.is_finished("a", file_identity(photo))


def test_a_run_killed_while_it_makes_a_result_anew_leaves_no_new_file_under_an_old_record(tmp_path: Path) -> None:
    first, second, out = tmp_path / "first.png", tmp_path / "second.png", tmp_path / "out"
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    _finish(Run(out, _COMMAND, {}), "a", first)
    assert not Run(out, _COMMAND, {}).is_finished("a", file_identity(second))
    (out / "a.png").write_bytes(b"of the second")  # and here it is killed
    assert not Run(out, _COMMAND, {}).is_finished("a", file_identity(first))


def test_what_was_made_of_another_input_of_that_name_goes(tmp_path: Path) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    photo.write_bytes(b"two faces")
    run = Run(out, _COMMAND, {})
    faces = [out / "a-0.png", out / "a-1.png"]
    for face in faces:
        face.write_bytes(b"face")
    run.finish("a", file_identity(photo), faces)
    (tmp_path / "beside.png").write_bytes(b"beside")
    ledger = out / "finished.jsonl"
    ledger.write_text(ledger.read_text().replace('"a-0.png"', '"a-0.png", "../beside.png", "settings.json"'))
    photo.write_bytes(b"one face")
    run = Run(out, _COMMAND, {})
    assert not run.is_finished("a", file_identity(photo))
    _finish(run, "a", photo)
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "finished.jsonl", "settings.json"]
    assert (tmp_path / "beside.png").exists()


@pytest.mark.parametrize("found", [{"command": "project"}, {"colour": "red"}, [], "text", {"command": 3}])
def test_a_folder_of_another_command_or_program_is_not_written_to(tmp_path: Path, found: object) -> None:
    write_json(tmp_path / "settings.json", found)
    before = (tmp_path / "settings.json").read_bytes()
    with pytest.raises(ResumeError, match="choose another folder"):
        Run(tmp_path, _COMMAND, {"seed": 0})
    assert (tmp_path / "settings.json").read_bytes() == before


_OTHER = """
import sys
from pathlib import Path
from deltafast.runs import Run
run = Run(Path(sys.argv[1]), "edit", {"seed": 1})
print("begun", flush=True)
sys.stdin.read()
"""


def test_two_processes_do_not_work_on_one_folder_and_a_killed_one_leaves_it_free(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", _OTHER, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        with pytest.raises(ResumeError, match=r"another run is at work in .*out: wait until it ends"):
            Run(tmp_path / "out", _COMMAND, {"seed": 0})
    finally:
        other.kill()
        other.wait()
    first, second = (Run(tmp_path / "out", _COMMAND, {"seed": 0}) for _ in range(2))  # one process may have two
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["settings.json"]
    del first, second


def test_a_folder_that_cannot_be_locked_is_worked_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with contextlib.suppress(DiskError):  # the settings cannot be written either
        Run(tmp_path / "out", _COMMAND, {})


def test_a_torn_ledger_costs_one_result(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"photo")
    run = Run(tmp_path / "out", _COMMAND, {})
    for name in ("a", "b"):
        _finish(run, name, photo)
    ledger = tmp_path / "out" / "finished.jsonl"
    ledger.write_bytes(b'[1]\n{"output": "x"}\n\xff\n' + ledger.read_bytes()[:-9])
    run = Run(tmp_path / "out", _COMMAND, {})
    assert run.is_finished("a", file_identity(photo))
    assert not run.is_finished("b", file_identity(photo))
    _finish(run, "b", photo)
    assert Run(tmp_path / "out", _COMMAND, {}).is_finished("b", file_identity(photo))


def test_a_ledger_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path / "out", _COMMAND, {})
    (tmp_path / "out" / "finished.jsonl").mkdir()
    with pytest.raises(DiskError, match=r"finished\.jsonl"):
        run.finish("a", {}, [])


def test_unfinished_state_is_of_one_work(tmp_path: Path) -> None:
    path = tmp_path / "work.state"
    assert load_state(path, {"lr": 1}) is None
    optimiser = torch.optim.Adam([torch.zeros(2, requires_grad=True)])
    state = {"w": torch.arange(3), "losses": [0.5], "optimiser": optimiser.state_dict(), "step": 7}
    save_state(path, state, {"lr": 1})
    found = load_state(path, {"lr": 1})
    assert found is not None
    assert torch.equal(found["w"], state["w"])
    assert found["losses"] == [0.5]
    assert found["step"] == 7
    with pytest.raises(ResumeError, match=r"work\.state .* other settings or inputs; delete it"):
        load_state(path, {"lr": 2})
    whole = path.read_bytes()
    for damage in (b"", b"no state", whole[: len(whole) // 2]):
        path.write_bytes(damage)
        with pytest.raises(ResumeError, match=r"work\.state is damaged .*; pass --restart"):
            load_state(path, {"lr": 1}, advice="pass --restart")
    torch.save([1, 2], path)
    with pytest.raises(ResumeError, match="damaged"):
        load_state(path, {"lr": 1})


def test_what_was_made_of_a_photo_is_forgotten_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run = Run(out, "project", {})
    for name in ("a", "b"):
        (out / f"{name}.safetensors").write_bytes(b"face")
        (out / f".{name}.state").write_bytes(b"face")
        run.finish(name, {"size": 1}, [out / f"{name}.safetensors"])
    write_json(out / "report.json", {"a": {}, "b": {}})
    ledger = out / "finished.jsonl"
    ledger.write_text(ledger.read_text().replace('"a.safetensors"', '"a.safetensors", "../beside", "settings.json"'))
    (tmp_path / "beside").write_text("somebody else's")
    with monkeypatch.context() as patched:
        patched.setattr(runs, "hold_folder", lambda folder: None)
        with pytest.raises(ResumeError, match="at work"):
            forget_results(out)
    with pytest.raises(InvalidInputError, match="there are a, b"):
        forget_results(out, ["c"])
    assert [path.name for path in forget_results(out, ["a"])] == [".a.state", "a.safetensors"]
    assert (tmp_path / "beside").exists()
    assert (out / "settings.json").exists()
    assert read_json(out / "report.json") == {"b": {}}
    assert Run(out, "project", {}).is_finished("b", {"size": 1})
    assert len(forget_results(out)) == 2
    with pytest.raises(InvalidInputError, match="no results of a run"):
        forget_results(tmp_path)
