"""The pictures of a moving slider: they have a way of their own beside the page's events, which costs little."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deltafast.app.dials import Dial
from deltafast.app.pictures import PREVIEW, jpeg
from deltafast.app.turns import SupersededError
from deltafast.app.visit import Visit
from deltafast.app.visits import Visits
from deltafast.errors import DeltafastError, InvalidInputError

__all__ = ["BY", "FACE", "TO", "WHOLE", "Moves", "amounts_of"]

BY, TO = "Change by", "Bring to"
FACE, WHOLE = "Face", "Whole photo"
_MOST = 10_000  # bytes of a request
_MOST_VALUES = 64


def amounts_of(visit: Visit, mode: str, values: Sequence[Any]) -> dict[str, float]:
    """Return the amounts, by dial, that the sliders at `values` mean in a `mode`, `BY` or `TO`."""
    return {
        key: _amount(visit, key, dial, mode, float(value))
        for (key, dial), value in zip(visit.dials.items(), values, strict=False)
    }


def _amount(visit: Visit, key: str, dial: Dial, mode: str, value: float) -> float:
    if mode != TO or dial.unit is None:
        return value
    before = visit.readings(key)
    return dial.neutral if math.isnan(before) else dial.by(value, before)


@dataclass(frozen=True)
class _Move:
    """Where the sliders of the visit of a `key` stand."""

    key: str
    mode: str
    view: str
    values: list[float]

    @classmethod
    def read(cls, body: bytes) -> _Move:
        """Read one from a request. Raises `InvalidInputError` for anything else."""
        try:
            given = json.loads(body)
            key, mode, view, values = (given[name] for name in ("key", "mode", "view", "values"))
            numbers = [float(value) for value in values]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidInputError("this is no move of the sliders") from error
        words = (key, mode, view)
        if not all(isinstance(word, str) and len(word) < 200 for word in words) or len(numbers) > _MOST_VALUES:
            raise InvalidInputError("this is no move of the sliders")
        if not all(math.isfinite(value) for value in numbers):
            raise InvalidInputError("a slider stands at a finite number")
        return cls(*words, numbers)


class Moves:
    """Answers the moves of all visits; what it is asked must name a visit by the key that its page alone was told."""

    def __init__(self, visits: Visits) -> None:
        self._visits = visits

    def answer(self, body: bytes) -> tuple[int, bytes]:
        """Return the status and the body of an answer: 200 and a JPEG; 204 where a newer move came; 4xx and words."""
        try:
            move = _Move.read(body)
            visit = self._visits.known(move.key)
            visit.move(amounts_of(visit, move.mode, move.values))
            return 200, jpeg(visit.pictures(move.view == WHOLE)[1], PREVIEW)
        except SupersededError:
            return 204, b""
        except DeltafastError as error:
            return 422, str(error).encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one ASGI request."""
        from anyio.to_thread import run_sync

        status, data = 413, b"this is more than a move of the sliders"
        body = await _body(receive)
        if body is not None:
            status, data = await run_sync(self.answer, body)
        kind = b"image/jpeg" if status == 200 else b"text/plain; charset=utf-8"
        headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data})


async def _body(receive: Any) -> bytes | None:
    """The body of a request, None where it is too long."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if len(body) > _MOST:
            return None
        if not message.get("more_body"):
            return body
