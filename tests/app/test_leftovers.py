"""What Gradio keeps of a visit: that there is such a thing, and that it is gone with the page."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from small_studio import small_studio

pytest.importorskip("gradio", reason="the extra `app` (gradio) is not installed")

from deltafast.app import page
from deltafast.app.serving import AppOptions, running
from deltafast.app.visits import Visits

pytestmark = pytest.mark.slow


def _ask(address: str, value: Any = None) -> Any:
    data = None if value is None else json.dumps(value).encode()
    return urllib.request.urlopen(urllib.request.Request(address, data, {"content-type": "application/json"}))


def test_the_pictures_that_gradio_keeps_of_a_page_go_when_the_page_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Any] = []
    build = page.build_page

    def kept(studio: Any, visits: Visits) -> Any:
        built.extend((build(studio, visits), visits))
        return built[0]

    monkeypatch.setattr(page, "build_page", kept)
    with running(small_studio(tmp_path), AppOptions(port=0)) as (address, _):
        blocks, visits = built
        here = _ask(f"{address}gradio_api/heartbeat/mine")
        here.readline()
        load = next(
            one["id"] for one in blocks.config["dependencies"] if ("load" in dict(map(reversed, one["targets"])))
        )
        asked = {"data": ["Change by"], "fn_index": load, "session_hash": "mine", "trigger_id": None}
        _ask(f"{address}gradio_api/queue/join", asked).read()
        shown = _ask(f"{address}gradio_api/queue/data?session_hash=mine").read()
        assert b"data:image/jpeg" in shown
        assert "data:image/jpeg" in str(blocks.state_holder.session_data["mine"].config_values)
        assert len(visits) == 1
        here.close()
        until = time.monotonic() + 60
        while ("mine" in blocks.state_holder.session_data or len(visits)) and time.monotonic() < until:
            time.sleep(0.1)
        assert len(visits) == 0
        time.sleep(0.3)  # nothing brings it back
        assert list(blocks.state_holder.session_data) == []
        assert blocks.state_holder.capacity == visits.most
        assert "mine" not in blocks._queue.pending_messages_per_session
        assert "mine" not in blocks._queue.pending_event_ids_session
