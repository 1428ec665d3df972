"""What a moving slider asks for: its own visit's picture and nobody else's, and words for what is no move."""

from __future__ import annotations

import asyncio
import json
import math

import pytest
from small_studio import small_studio

from deltafast.app import moves
from deltafast.app.moves import BY, FACE, TO, Moves, amounts_of
from deltafast.app.pictures import PREVIEW, jpeg
from deltafast.app.studio import Studio
from deltafast.app.turns import SupersededError
from deltafast.app.visit import Visit
from deltafast.app.visits import Visits


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """The tiny studio."""
    return small_studio(tmp_path_factory.mktemp("editors"))


def _asked(key: str, *values: object, mode: str = BY) -> bytes:
    return json.dumps({"key": key, "mode": mode, "view": FACE, "values": values}).encode()


def test_a_move_answers_with_the_picture_of_the_visit_that_asks(studio: Studio) -> None:
    visits = Visits(studio)
    first, second = visits.of("a"), visits.of("b")
    first.sample(1)
    second.sample(2)
    status, data = Moves(visits).answer(_asked(first.key, 15.0, 0.0))
    assert status == 200
    assert first.edited is not None
    assert second.face is not None
    assert first.amounts == {"yaw": 15.0}
    assert data == jpeg(first.edited.pixels, PREVIEW)
    assert second.amounts == {}
    assert data not in {jpeg(face.pixels, PREVIEW) for face in (first.face, second.face) if face is not None}


def test_a_visit_is_found_by_its_own_key_alone(studio: Studio) -> None:
    visits = Visits(studio)
    visit = visits.of("session")
    visit.sample(1)
    assert visits.of("other").key != visit.key
    for key in ("session", "", "ä" * 32):
        status, words = Moves(visits).answer(_asked(key, 5.0))
        assert status == 422
        assert b"reload the page" in words
    assert visit.amounts == {}


def test_a_move_that_a_newer_one_has_overtaken_is_answered_with_nothing(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits = Visits(studio)
    visit = visits.of("a")
    visit.sample(1)

    def overtaken(self: Visit, amounts: object) -> None:
        raise SupersededError

    monkeypatch.setattr(Visit, "move", overtaken)
    assert Moves(visits).answer(_asked(visit.key, 5.0)) == (204, b"")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"key": "k"}', b"[" * 5000, _asked("k", "x"), _asked("k", math.nan), _asked("k", *[1.0] * 99)],
)
def test_what_is_no_move_is_refused(studio: Studio, body: bytes) -> None:
    status, words = Moves(Visits(studio)).answer(body)
    assert status == 422
    assert b"move" in words or b"finite" in words


def test_a_long_request_is_refused_before_it_is_read(studio: Studio) -> None:
    pytest.importorskip("anyio", reason="anyio comes with the extra `app`")
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"x" * 20_000, "more_body": True}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    asyncio.run(moves.Moves(Visits(studio))({}, receive, send))
    assert sent[0]["status"] == 413


def test_bring_to_means_the_change_that_leads_there(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    visit = Visit(studio)
    visit.sample(1)
    monkeypatch.setattr(visit, "readings", lambda key: 4.0)
    amounts = amounts_of(visit, TO, [10.0, 0.5])
    yaw = studio.dials["yaw"]
    assert amounts["yaw"] == (6.0 if yaw.unit is not None else 10.0)
    monkeypatch.setattr(visit, "readings", lambda key: math.nan)
    assert amounts_of(visit, TO, [10.0])["yaw"] == (0.0 if yaw.unit is not None else 10.0)
    assert amounts_of(visit, BY, [10.0])["yaw"] == 10.0
