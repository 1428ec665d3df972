"""How quickly the app shows what a slider asks for, and whether twenty people at once get their own faces.

    python -m benchmarks.app_moves [--moves 200] [--carried 50] [--users 20] [--seconds 600]
        [--out benchmarks/results/app_moves.json]

Wants the extras `app` and `browser` and a Chromium. The app runs as people run it, `deltafast app`, in a process of its
own. First one page in Chromium: every slider in turn is put to other places, each as soon as the picture of the one
before is on the screen; the time is that from the slider's event to the frame after the new picture is decoded. After
every 25 moves the hand rests until the exact picture stands. Then the same with a photo, a face of the generator's that
is brought as a file, once it is carried along its edits. Then so many people at once for so many seconds (at least one
round each), by the requests that pages send: each samples its own face, moves two sliders, waits for the exact edit
and saves its latents, again and again, and after every other round leaves and comes again as somebody new; what is not
its own face or its own amounts is counted, and the app's memory is read every two seconds. It is flat if the median of
the last two minutes is at most 1.1 times that of minutes two to four, by when everybody has a face. The file is written
after each part.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load as load_tensors

from deltafast.evaluation.machine import describe_run
from deltafast.files import write_json
from deltafast.generators.load import load_generator
from deltafast.generators.seeds import latents_from_seeds
from deltafast.pixels import to_arrays

_PSI = 0.7  # as the app samples
_REST_EVERY = 25
_MOST_SECONDS = 900.0  # that one answer, or the refinement of a photo, may take
_PHOTO_SEED = 11
_CARRIED = "carried along"  # as the page says it of a photo that is
_ROUNDS = 2  # of one visit
_KEPT_EVERY = 10.0  # seconds between two readings of memory that are written down
_EARLY = (120.0, 240.0)  # seconds from the beginning, with whose memory that of the last ones is compared
_LATE = 120.0
_FLAT = 1.1
_MOVE = """async ([dial, share]) => {
  const range = document.querySelector(`#df-dial-${dial} input[type=range]`);
  const image = () => document.querySelector('#df-after img');
  const before = image().src;
  const [low, high, step] = [range.min, range.max, range.step].map(Number);
  const place = low + Math.round(share * (high - low) / step) * step;
  const shown = new Promise(done => {
    const watch = new MutationObserver(() => {
      if (!image() || image().src === before) return;
      watch.disconnect();
      image().decode().then(() => requestAnimationFrame(() => setTimeout(() => done(performance.now()))));
    });
    watch.observe(document.querySelector('#df-after'), { subtree: true, childList: true, attributes: true });
  });
  const begin = performance.now();
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(range, place);
  range.dispatchEvent(new Event('input', { bubbles: true }));
  return [await shown - begin, image().naturalWidth];
}"""


@contextlib.contextmanager
def app_running() -> Iterator[tuple[str, int]]:
    """Run `deltafast app` on a free port; yield its address and the number of its process."""
    command = [sys.executable, "-u", "-m", "deltafast", "app", "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        found = None
        while found is None:
            line = process.stdout.readline()
            if not line:
                raise SystemExit("the app has not started")
            found = re.search(r"http://\S+", line)
        yield found[0], process.pid
    finally:
        process.terminate()
        process.wait(20)


def time_moves(address: str, moves: int, photo: Path | None = None) -> dict[str, Any]:
    """Move the sliders of one page so often, and say how long pictures took, in milliseconds.

    With a `photo`, that is brought first, and waited for until it is carried along.
    """
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    generator = random.Random(0)
    took, widths = [], []
    load = [os.getloadavg()[0]]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(_MOST_SECONDS * 1000)
        page.goto(address)
        page.wait_for_selector("#df-after img")
        if photo is not None:
            page.get_by_role("tab", name="Photo").click()
            page.set_input_files("#df-photo input[type=file]", photo)
            page.wait_for_function(f"document.querySelector('#df-status').textContent.includes('{_CARRIED}')")
            page.wait_for_function("document.querySelector('#df-after img').naturalWidth >= 1024")
        dials = page.evaluate(
            "[...document.querySelectorAll('.df-dial')].filter(e => e.checkVisibility()).map(e => e.id.slice(8))"
        )
        for number in range(moves):
            dial = dials[number // _REST_EVERY % len(dials)]
            milliseconds, width = page.evaluate(_MOVE, [dial, generator.random()])
            took.append(milliseconds)
            widths.append(width)
            if number % _REST_EVERY == _REST_EVERY - 1:
                page.wait_for_function("document.querySelector('#df-after img').naturalWidth >= 1024")
        version = browser.version
        browser.close()
    ordered = sorted(took)
    return {
        "moves": moves,
        "median_ms": round(statistics.median(took), 1),
        "p95_ms": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))], 1),
        "all_ms": [round(one, 1) for one in took],
        "preview_pixels": statistics.mode(widths),
        "dials": dials,
        "load": [*load, os.getloadavg()[0]],
        "chromium": version,
    }


def face_file(folder: Path) -> Path:
    """Write a face of the generator's as a file, to be brought as a photo."""
    generator = load_generator("mobilestylegan-ffhq")
    with torch.no_grad():
        image = generator.synthesis(latents_from_seeds(generator, [_PHOTO_SEED], _PSI))
    Image.fromarray(to_arrays(image)[0]).save(folder / "photo.png")
    return folder / "photo.png"


class _User:
    """One person's page, as the requests that it sends."""

    def __init__(self, address: str, seed: int, latents: torch.Tensor) -> None:
        self._address, self._seed, self._latents = address, seed, latents
        self._config = json.loads(self._get("config"))
        self._ids = {one["props"].get("elem_id"): one["id"] for one in self._config["components"]}
        self._before = ""
        self.rounds = self.mixed = self.queued = self.visits = 0
        self.move_seconds: list[float] = []
        self.rest_seconds: list[float] = []
        self.failures: list[str] = []
        self._come()

    def _come(self) -> None:
        """Open the page, as somebody whom the app has not seen."""
        self._session = secrets.token_hex(8)
        place = f"{self._address}gradio_api/heartbeat/{self._session}"
        self._here = urllib.request.urlopen(place)  # as long as it is open the page is
        self._here.readline()
        self._key = self._call(self._event(None, "load"), ["Change by"])[0]
        self.visits += 1

    def play(self, until: float) -> None:
        """Go round until the clock says `until`, once at least."""
        generator = random.Random(self._seed)
        try:
            while not self.rounds or time.monotonic() < until:
                if self.rounds and self.rounds % _ROUNDS == 0:
                    self._here.close()
                    self._come()
                self._round(generator)
                self.rounds += 1
        except Exception as error:
            self.failures.append(f"{type(error).__name__}: {error}"[:300])
        self._here.close()

    def _round(self, generator: random.Random) -> None:
        shown = self._call(self._event("df-sample", "click"), [self._seed, "Change by"])
        before = re.sub(r'data-number="\d+"', "", shown[0])
        self.mixed += bool(self._before) and before != self._before
        self._before = before
        sliders = [
            one["props"] for one in self._config["components"] if "df-dial" in one["props"].get("elem_classes", [])
        ]
        values = [one["value"] for one in sliders]
        for _ in range(2):
            at = generator.randrange(sum(one["visible"] is not False for one in sliders))
            values[at] = round(generator.uniform(sliders[at]["minimum"], sliders[at]["maximum"]), 4)
            begin = time.monotonic()
            asked = {"key": self._key, "mode": "Change by", "view": "Face", "values": values}
            self._post("moves", asked)
            self.move_seconds.append(time.monotonic() - begin)
        begin = time.monotonic()
        self._call(self._event("df-rest", "click"), ["Change by", "Face", *values])
        self.rest_seconds.append(time.monotonic() - begin)
        saved = self._call(self._event("df-save-latents", "click"), ["Face"])[1]
        file = urllib.request.urlopen(saved).read()  # an address that holds its data
        own = torch.equal(load_tensors(file)["source"], self._latents)
        amounts = json.loads(_metadata(file)["deltafast-app"])["amounts"]
        asked_for = {round(value, 4) for value in values}
        self.mixed += not own or not {round(value, 4) for value in amounts.values()} <= asked_for or not amounts

    def _event(self, element: str | None, event: str) -> int:
        for one in self._config["dependencies"]:
            for target, name in one["targets"]:
                if name == event and (element is None or target == self._ids[element]):
                    return int(one["id"])
        raise KeyError(f"{element}.{event}")

    def _call(self, number: int, data: list[Any]) -> list[Any]:
        """Run one of the page's events and return what it puts where."""
        asked = {"data": data, "fn_index": number, "session_hash": self._session, "trigger_id": None}
        event = json.loads(self._post("gradio_api/queue/join", asked))["event_id"]
        place = f"{self._address}gradio_api/queue/data?session_hash={self._session}"
        shown: list[Any] = []
        with urllib.request.urlopen(place, timeout=_MOST_SECONDS) as stream:
            for line in stream:
                if not line.startswith(b"data:"):
                    continue
                said = json.loads(line[5:])
                if said.get("event_id") != event:
                    continue
                self.queued += said["msg"] == "process_generating" and b"served first" in line
                if said["msg"] == "process_completed":
                    if not said["success"]:
                        raise RuntimeError(str(said["output"])[:200])
                    shown = said["output"]["data"]
                    break
        return shown

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self._address + path, timeout=_MOST_SECONDS) as answer:
            return bytes(answer.read())

    def _post(self, path: str, value: Any) -> bytes:
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self._address + path, json.dumps(value).encode(), headers)
        with urllib.request.urlopen(request, timeout=_MOST_SECONDS) as answer:
            return bytes(answer.read())


def _metadata(file: bytes) -> dict[str, str]:
    """What a safetensors file says of itself."""
    length = int.from_bytes(file[:8], "little")
    found: dict[str, str] = json.loads(file[8 : 8 + length])["__metadata__"]
    return found


def many_at_once(address: str, process: int, users: int, seconds: float) -> dict[str, Any]:
    """Let so many people play at once for so long; say what was mixed up, and what memory the app took."""
    generator = load_generator("mobilestylegan-ffhq")
    seeds = range(1000, 1000 + users)
    people = [_User(address, seed, latents_from_seeds(generator, [seed], _PSI)) for seed in seeds]
    begin = time.monotonic()
    threads = [threading.Thread(target=one.play, args=(begin + seconds,)) for one in people]
    memory: list[tuple[float, float]] = []
    load: list[float] = []
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        memory.append((round(time.monotonic() - begin, 1), _resident(process)))
        load.append(os.getloadavg()[0])
        time.sleep(2)
    moves = [one for person in people for one in person.move_seconds]
    rests = [one for person in people for one in person.rest_seconds]
    return {
        "users": users,
        "seconds": round(time.monotonic() - begin, 1),
        "rounds": [person.rounds for person in people],
        "visits": sum(person.visits for person in people),
        "moves": len(moves),
        "mixed_up": sum(person.mixed for person in people),
        "failures": [one for person in people for one in person.failures],
        "told_of_the_queue": sum(person.queued for person in people),
        "median_move_s": round(statistics.median(moves), 2) if moves else None,
        "median_exact_s": round(statistics.median(rests), 2) if rests else None,
        "load": {"least": min(load), "median": statistics.median(load), "most": max(load)},
        "memory_mib": {"first": memory[0][1], "most": max(mib for _, mib in memory), "last": memory[-1][1]},
        "memory_flat": is_flat(memory),
        "memory_over_time": thinned(memory),
    }


def is_flat(memory: list[tuple[float, float]]) -> dict[str, Any]:
    """Say by the rule above whether memory, of (seconds, MiB) in order, stayed; None of a run that was too short."""
    end = memory[-1][0]
    early = [mib for at, mib in memory if _EARLY[0] <= at < _EARLY[1]]
    late = [mib for at, mib in memory if at > end - _LATE]
    if end < _EARLY[1] + _LATE:
        return {"ratio": None, "most_ratio": _FLAT, "verdict": None}
    ratio = round(statistics.median(late) / statistics.median(early), 3)
    medians = {"early_mib": statistics.median(early), "late_mib": statistics.median(late)}
    return {**medians, "ratio": ratio, "most_ratio": _FLAT, "verdict": ratio <= _FLAT}


def thinned(memory: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of readings in order, the first one and each that is `_KEPT_EVERY` seconds after the one before."""
    kept: list[tuple[float, float]] = []
    for at, mib in memory:
        if not kept or at - kept[-1][0] >= _KEPT_EVERY:
            kept.append((at, mib))
    return kept


def _resident(process: int) -> float:
    """The memory of a process in MiB."""
    text = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    return round(int(found[1]) / 1024, 1) if found else 0.0


def main() -> None:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=200, help="0: none")
    parser.add_argument("--carried", type=int, default=50, help="moves of a photo that is carried along; 0: none")
    parser.add_argument("--users", type=int, default=20, help="0: none")
    parser.add_argument("--seconds", type=float, default=600, help="that the users stay")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/app_moves.json"))
    given = parser.parse_args()
    result: dict[str, Any] = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    with app_running() as (address, process):
        if given.moves:
            result["moves"] = {**time_moves(address, given.moves), "run": describe_run()}
            write_json(given.out, result)
        if given.carried:
            with tempfile.TemporaryDirectory() as folder:
                timed = time_moves(address, given.carried, face_file(Path(folder)))
            result["carried"] = {**timed, "run": describe_run()}
            write_json(given.out, result)
        if given.users:
            result["at_once"] = {**many_at_once(address, process, given.users, given.seconds), "run": describe_run()}
            write_json(given.out, result)
    for part in result.values():
        print({key: value for key, value in part.items() if key not in ("run", "all_ms", "memory_over_time")})


if __name__ == "__main__":
    main()
