"""`deltafast demo` ends in a sheet of real pictures and says where it is and how long each stage took."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from deltafast.cli import app
from deltafast.files import read_image


@pytest.mark.slow
def test_the_demo_draws_its_sheet_and_reports_its_stages(tmp_path: Path) -> None:
    seen = CliRunner().invoke(app, ["demo", str(tmp_path), "--faces", "1", "--seed", "1000"])
    assert seen.exit_code == 0, seen.output
    assert f"look at {tmp_path / 'demo.png'}" in seen.stdout.replace("\n", " ")
    stages = re.findall(r"^  (.+?) +([0-9.]+) s$", seen.stdout, re.MULTILINE)
    assert len(stages) == 6
    assert float(stages[-1][1]) == pytest.approx(sum(float(spent) for _, spent in stages[:-1]), abs=0.5)

    sheet = read_image(tmp_path / "demo.png")
    white = (sheet == 255).all(axis=2)
    assert white.mean() < 0.5  # mostly pictures
    # the last row shows one face at five strengths along three attributes: neighbours differ, the middle ones are equal
    cell, gap = 160, 3
    bottom = np.nonzero(~white.all(axis=1))[0].max() + 1
    filled = ~white[bottom - cell : bottom].all(axis=0)  # columns that are not paper
    lefts = np.nonzero(filled & ~np.roll(filled, 1))[0]
    faces = sheet[bottom - cell : bottom]
    starts = [int(left) for left in lefts if filled[left : left + cell].all()]
    assert len(starts) == 15
    assert starts[1] - starts[0] == cell + gap
    pictures = [faces[:, left : left + cell].astype(int) for left in starts]
    assert all(np.array_equal(pictures[2], pictures[index]) for index in (7, 12))  # alpha = 0 is the face itself
    assert all(np.abs(a - b).mean() > 1 for a, b in itertools.pairwise(pictures[:5]))
