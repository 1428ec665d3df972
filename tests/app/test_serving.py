"""The door of the app: names of this machine, a password elsewhere, bounded uploads, headers that keep all inside."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deltafast.app import serving
from deltafast.app.serving import AppOptions, is_loopback
from deltafast.app.uploads import MAX_UPLOAD, Shelf
from deltafast.errors import InvalidInputError


def _asked(port: int | None, shelf: Shelf, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict]:
    """The status and headers of an answer of a door before an application that says 200 to all."""
    sent: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        start = [(b"x-powered-by", b"inner"), (b"referrer-policy", b"unsafe-url")]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        await send({"type": "http.response.body", "body": b"[]"})

    async def moves(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "method": method, "headers": lines}
    door = serving._Door(inner, moves, shelf, port)  # type: ignore[arg-type]
    asyncio.run(door(scope, None, send))
    return sent[0]["status"], {name: value for name, value in sent[0]["headers"]}


@pytest.fixture
def shelf(tmp_path: Path) -> Any:
    """A shelf in a folder of its own."""
    made = Shelf(tmp_path)
    yield made
    made.remove()


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "localhost"])
def test_names_of_this_machine_are_let_in_with_headers_that_forbid_what_is_outside(shelf: Shelf, host: str) -> None:
    status, headers = _asked(7860, shelf, host=host)
    assert status == 200
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    assert headers[b"referrer-policy"] == b"no-referrer"


@pytest.mark.parametrize("host", ["evil.example:7860", "192.168.1.7:7860", "", "127.0.0.1.evil.example"])
def test_another_name_that_points_here_is_refused_unless_there_is_a_password(shelf: Shelf, host: str) -> None:
    assert _asked(7860, shelf, host=host)[0] == 421
    assert _asked(7860, shelf, "/moves", "POST", host=host)[0] == 421
    assert _asked(None, shelf, host=host)[0] == 200


def test_moves_go_their_own_way_and_only_when_posted(shelf: Shelf) -> None:
    assert _asked(1, shelf, "/moves", "POST", host="localhost")[0] == 204
    assert _asked(1, shelf, "/moves", "GET", host="localhost")[0] == 200


def test_uploads_are_bounded_in_size_and_number(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    place = "/gradio_api/upload"
    assert _asked(1, shelf, place, "POST", host="localhost")[0] == 413  # does not say how long
    too_long = str(MAX_UPLOAD + 2_000_000)
    assert _asked(1, shelf, place, "POST", host="localhost", content_length=too_long)[0] == 413
    assert _asked(1, shelf, place, "POST", host="localhost", content_length="1000")[0] == 200
    monkeypatch.setattr(Shelf, "has_room", lambda self: False)
    assert _asked(1, shelf, place, "POST", host="localhost", content_length="1000")[0] == 429


def test_off_the_loopback_a_password_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="--password-file"):
        AppOptions(host="0.0.0.0")
    file = tmp_path / "password"
    file.write_text("short\n")
    with pytest.raises(InvalidInputError, match="8 characters"):
        AppOptions(host="0.0.0.0", password_file=file)
    file.write_text("a long word\nand more\n")
    assert AppOptions(host="0.0.0.0", password_file=file).password() == "a long word"
    with pytest.raises(InvalidInputError, match="cannot be read"):
        AppOptions(password_file=tmp_path / "none")
    assert AppOptions().password() is None


def test_what_reaches_beyond_this_machine_is_no_loopback() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "example.com", "10.0.0.1"))
