"""Undo goes back state by state and stays at the first."""

from __future__ import annotations

from deltafast.app.history import History


def test_undo_goes_back_in_order_and_stays_at_the_first() -> None:
    history = History(0)
    for state in (1, 1, 2):
        history.put(state)
    assert [history.undo() for _ in range(3)] == [1, 0, 0]


def test_a_new_face_forgets_the_states_of_the_old_one() -> None:
    history = History("a")
    history.put("b")
    history.restart("c")
    assert history.undo() == "c"


def test_no_more_than_a_hundred_states_are_kept() -> None:
    history = History(0)
    for state in range(1, 300):
        history.put(state)
    assert len(history) == 100
    assert history.present == 299
