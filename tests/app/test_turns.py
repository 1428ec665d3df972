"""Who computes next: the urgent before the background, each in order, and of each visit only the newest request."""

from __future__ import annotations

import threading
import time

import pytest

from deltafast.app.turns import BACKGROUND, Newest, SupersededError, Turns


def _waits(turns: Turns, urgency: int, count: int) -> None:
    for _ in range(500):
        if turns.waiting(urgency) == count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{turns.waiting(urgency)} wait, expected {count}")


def test_people_are_served_before_the_background_and_in_the_order_they_came() -> None:
    turns, served = Turns(), []

    def work(name: str, urgency: int) -> None:
        with turns.turn(urgency):
            served.append(name)

    threads = []
    with turns.turn():
        for name, urgency, waiting in (("slow", BACKGROUND, 1), ("first", 0, 1), ("second", 0, 2)):
            threads.append(threading.Thread(target=work, args=(name, urgency)))
            threads[-1].start()
            _waits(turns, urgency, waiting)
    for thread in threads:
        thread.join(5)
    assert served == ["first", "second", "slow"]


def test_background_work_that_gives_way_goes_on_after_those_who_waited() -> None:
    turns, served = Turns(), []

    def work() -> None:
        with turns.turn():
            served.append("person")

    with turns.turn(BACKGROUND):
        thread = threading.Thread(target=work)
        thread.start()
        _waits(turns, 0, 1)
        turns.give_way()
        served.append("background")
    thread.join(5)
    assert served == ["person", "background"]


def test_a_turn_that_ends_in_an_error_is_given_back() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="mine"), turns.turn():
        raise ValueError("mine")
    with turns.turn():
        assert turns.waiting() == 0


def test_a_newer_request_makes_the_older_one_stale_and_wakes_it() -> None:
    newest = Newest()
    old = newest.take()
    woken: list[float] = []

    def rest() -> None:
        begun = time.monotonic()
        with pytest.raises(SupersededError):
            old.rest(30)
        woken.append(time.monotonic() - begun)

    thread = threading.Thread(target=rest)
    thread.start()
    new = newest.take()
    thread.join(10)
    assert old.stale
    assert not new.stale
    assert newest.last() is new
    assert woken
    assert woken[0] < 10
    with pytest.raises(SupersededError):
        old.check()
    new.check()
