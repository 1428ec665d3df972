"""What `--by` and `--to` reached is printed for a few faces, and counted for many."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from deltafast.cli._reached import ReachedReport
from deltafast.editing.steering import Reached


def _edit(faces: int, sweep: bool = False) -> Any:
    shape = (faces, 2) if sweep else (faces,)
    after = torch.full(shape, 15.2)
    after.view(-1)[-1] = 9.0
    there = (after - 15).abs() < 1
    reached = Reached("degree", torch.zeros(faces), torch.full(shape, 15.0), after, torch.ones(shape), there)
    return SimpleNamespace(reached={"yaw": reached})


def test_each_of_a_few_faces_says_where_it_got_to(capsys: pytest.CaptureFixture[str]) -> None:
    report = ReachedReport()
    report.add(["anna", "ben"], _edit(2))
    report.close()
    assert capsys.readouterr().out.splitlines() == [
        "anna: yaw from 0.0 to 15.2 (degree)",
        "ben: yaw from 0.0 to 9.0 (degree); 15.0 was asked and is not reached",
    ]


def test_a_sweep_says_each_of_its_amounts_and_an_unseen_face_that_it_is_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    edit = _edit(1, sweep=True)
    edit.reached["yaw"].before[0] = float("nan")
    ReachedReport().add(["anna"], edit)
    assert capsys.readouterr().out.splitlines() == ["anna: yaw: no face is seen to read it off"] * 2


def test_of_many_faces_the_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    report = ReachedReport()
    report.add([str(k) for k in range(20)], _edit(20))
    report.close()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 17
    assert lines[-1] == "yaw: 19 of 20 edits reached what was asked"


def test_of_edits_by_alpha_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    report = ReachedReport()
    report.add(["anna"], SimpleNamespace(reached=None))  # type: ignore[arg-type]
    report.close()
    assert capsys.readouterr().out == ""
