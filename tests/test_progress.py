"""The one progress bar: quiet where nobody looks, and one within another where two things take long."""

from __future__ import annotations

import io
import sys

import pytest

from deltafast.progress import track


class Terminal(io.StringIO):
    """A screen."""

    def isatty(self) -> bool:
        return True


def test_a_bar_within_a_bar_is_a_line_below_it_and_goes_when_it_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.delenv("DELTAFAST_QUIET", raising=False)
    seen = []
    for outer in track(range(2), "photos"):
        inner = track(range(3), "refining")
        seen += [(outer, next(inner)), (outer, next(inner))]
        inner.close()
    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert "photos" in screen.getvalue()
    assert list(track(range(2), "again")) == [0, 1], "nothing is left of the first"


def test_nothing_is_drawn_where_stderr_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    assert list(track(range(3), "photos")) == [0, 1, 2]
    assert screen.getvalue() == ""
