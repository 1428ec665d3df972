"""A result names the command that made it as somebody else would type it, without this machine's folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("typed", [["-m", "said"], ["said.py"]], ids=["module", "script"])
def test_the_command_is_told_as_typed(tmp_path: Path, repository_root: Path, typed: list[str]) -> None:
    text = "from deltafast.evaluation.machine import describe_run\nprint(describe_run()['command'])\n"
    (tmp_path / "said.py").write_text(text)
    environment = {**os.environ, "PYTHONPATH": str(repository_root)}
    call = [sys.executable, *typed, "--rounds", "two words"]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"python {' '.join(typed)} --rounds 'two words'"
