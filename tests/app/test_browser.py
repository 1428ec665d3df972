"""The app in a real Chromium: upload, slide, paste back, save, reload, errors, two people at once, nothing outside."""

from __future__ import annotations

import io
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest
from PIL import Image
from small_studio import small_studio

from deltafast.app.studio import Studio
from deltafast.faces.alignment import Alignment
from deltafast.faces.photos import Photo, PhotoFace

gradio = pytest.importorskip("gradio", reason="the extra `app` (gradio) is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="the extra `browser` (playwright) is not installed")

from deltafast.app.serving import AppOptions, running  # noqa: E402  (only where Gradio is)

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine: apt-get install chromium"),
]

_SECONDS = 60_000  # milliseconds that a busy machine may take


class _Watched:
    """The app's address, its folder for uploads, its studio, and the addresses that this process connected to."""

    def __init__(self, address: str, folder: Path, studio: Studio, reached: list[Any]) -> None:
        self.address, self.folder, self.studio, self.reached = address, folder, studio, reached


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Watched]:
    """The app on a tiny generator."""
    studio = small_studio(tmp_path_factory.mktemp("editors"))
    reached: list[Any] = []
    connect = socket.socket.connect

    def watched(self: socket.socket, address: Any) -> Any:
        reached.append(address)
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", watched)
        with running(studio, AppOptions(port=0)) as (address, _):
            yield _Watched(address, Path(os.environ["GRADIO_TEMP_DIR"]), studio, reached)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, app: _Watched) -> Iterator[Any]:
    """A page with the first face; afterwards, that it asked nobody but the app for anything, and met no error."""
    with _opened(browser, app) as opened:
        yield opened


class _opened:  # noqa: N801  (used as a function)
    def __init__(self, browser: Any, app: _Watched, **options: Any) -> None:
        self._context = browser.new_context(**options)
        self._app = app
        self._asked: list[str] = []
        self._errors: list[str] = []

    def __enter__(self) -> Any:
        page = self._context.new_page()
        page.set_default_timeout(_SECONDS)
        page.on("request", lambda request: self._asked.append(request.url))
        page.on("pageerror", lambda error: self._errors.append(str(error)))
        page.goto(self._app.address)
        page.wait_for_selector("#df-after img")
        return page

    def __exit__(self, *failure: Any) -> None:
        self._context.close()
        if failure[0] is None:
            own = urlparse(self._app.address).netloc
            outside = [url for url in self._asked if urlparse(url).scheme not in ("data", "blob")]
            assert {urlparse(url).netloc for url in outside} == {own}
            assert self._errors == []


def _shown(page: Any) -> str:
    return page.get_attribute("#df-after img", "src")


def _wait_for_another(page: Any, before: str) -> None:
    page.wait_for_function(
        "before => { const i = document.querySelector('#df-after img'); return i && i.src !== before }", arg=before
    )


def _slide(page: Any, dial: str, amount: float) -> None:
    before = _shown(page)
    box = page.locator(f"#df-dial-{dial} input[type=number]")
    box.fill(str(amount))
    box.press("Enter")
    _wait_for_another(page, before)


def _saved(page: Any, button: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.click(button)
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def _photo(colour: int = 90) -> bytes:
    pixels = np.full((120, 160, 3), colour, np.uint8)
    pixels[30:90, 50:110] = (200, 150, 120)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def face_found(app: _Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every photo has a face, at one place: whether faces are found is tested elsewhere."""

    def read(path: Path, name: str) -> Photo:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        quad = np.array([[50.0, 30.0], [50.0, 90.0], [110.0, 90.0], [110.0, 30.0]])
        place = Alignment(quad, (pixels.shape[1], pixels.shape[0]), None)
        return Photo(name, [PhotoFace(pixels[30:90, 50:110].copy(), place)], pixels)

    monkeypatch.setattr(app.studio, "read_photo", read)


def _left(app: _Watched) -> list[tuple[str, bytes]]:
    """The files in the folder for uploads that hold anything: the name of each, and how it begins."""
    files = [path for path in app.folder.rglob("*") if path.is_file() and path.stat().st_size]
    return [(path.name, path.read_bytes()[:80]) for path in files]


def test_a_slider_moves_the_picture_by_mouse_keyboard_and_number_and_undo_takes_it_back(page: Any) -> None:
    first = _shown(page)
    page.locator("#df-dial-yaw input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    _wait_for_another(page, first)
    page.wait_for_selector("#df-status >> text=Yaw")
    _slide(page, "smile", 12)
    page.wait_for_selector("#df-status >> text=Smile")
    before = _shown(page)
    page.click("#df-undo")
    _wait_for_another(page, before)
    assert page.input_value("#df-dial-smile input[type=number]") == "0"


def test_what_is_saved_is_what_is_shown_and_comes_back(page: Any, app: _Watched, tmp_path: Path) -> None:
    _slide(page, "yaw", 15)
    page.wait_for_selector("#df-status >> text=Yaw")
    name, data = _saved(page, "#df-save-png")
    assert name == "face-7-edited.png"
    picture = np.asarray(Image.open(io.BytesIO(data)))
    assert picture.shape == (64, 64, 3)
    _, latents = _saved(page, "#df-save-latents")
    file = tmp_path / "mine.safetensors"
    file.write_bytes(latents)
    page.reload()
    page.wait_for_selector("#df-after img")
    before = _shown(page)
    page.get_by_role("tab", name="Latents").click()
    page.set_input_files("#df-latents input[type=file]", file)
    _wait_for_another(page, before)
    assert float(page.input_value("#df-dial-yaw input[type=number]")) == 15
    page.wait_for_selector("#df-status >> text=Yaw")
    _, again = _saved(page, "#df-save-png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(again))), picture)
    assert _left(app) == []


@pytest.mark.usefixtures("face_found")
def test_the_face_of_an_uploaded_photo_is_edited_and_put_back(page: Any, app: _Watched) -> None:
    before = _shown(page)
    page.get_by_role("tab", name="Photo").click()
    page.set_input_files("#df-photo input[type=file]", {"name": "me.png", "mimeType": "image/png", "buffer": _photo()})
    _wait_for_another(page, before)
    page.wait_for_selector("#df-status >> text=Reconstruction")
    _slide(page, "yaw", 20)
    page.wait_for_selector("#df-status >> text=Yaw")
    before = _shown(page)
    page.get_by_label("Whole photo").check()
    _wait_for_another(page, before)
    _, data = _saved(page, "#df-save-png")
    whole = np.asarray(Image.open(io.BytesIO(data)))
    assert whole.shape == (120, 160, 3)
    given = np.asarray(Image.open(io.BytesIO(_photo())))
    assert np.array_equal(whole[:20], given[:20])  # far from the face every pixel is the photo's
    assert not np.array_equal(whole[50:70, 70:90], given[50:70, 70:90])
    assert _left(app) == []


def test_a_picture_without_a_face_is_refused_in_words_and_the_face_stays(page: Any, app: _Watched) -> None:
    pytest.importorskip("dlib", reason="the extra `photos` (dlib-bin) is not installed")
    before = _shown(page)
    page.get_by_role("tab", name="Photo").click()
    page.set_input_files("#df-photo input[type=file]", {"name": "a.png", "mimeType": "image/png", "buffer": _photo()})
    page.wait_for_selector("text=no face")
    assert _shown(page) == before
    assert _left(app) == []


def test_two_people_at_once_see_their_own_faces(browser: Any, app: _Watched) -> None:
    with _opened(browser, app) as first, _opened(browser, app) as second:
        before = _shown(second)
        second.fill("#df-source input[type=number]", "8")
        second.click("#df-sample")
        _wait_for_another(second, before)
        others = _shown(second)
        _slide(first, "yaw", 25)
        first.wait_for_selector("#df-status >> text=Yaw")
        assert _shown(second) == others
        assert "Yaw" not in second.inner_text("#df-status")
        assert _saved(first, "#df-save-png")[0] == "face-7-edited.png"
        assert _saved(second, "#df-save-png")[0] == "face-8-edited.png"


def test_every_control_has_a_name_that_a_screen_reader_says(page: Any) -> None:
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('input, button, select, textarea')]
        .filter(e => e.checkVisibility({visibilityProperty: true}) && e.type !== 'hidden' && e.type !== 'file')
        .filter(e => !(e.ariaLabel || e.title || e.innerText?.trim() || e.labels?.length || e.ariaLabelledByElements))
        .map(e => e.outerHTML.slice(0, 200))"""
    )
    assert nameless == []


def test_axe_finds_nothing_serious(page: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra `browser` brings axe-core")
    for tab in ("Sample", "Photo", "Latents"):
        page.get_by_role("tab", name=tab).click()
        found = axe.Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


def test_the_wipe_uncovers_the_picture_before_the_edit(page: Any) -> None:
    wipe = page.locator(".df-wipe input")
    assert page.evaluate("getComputedStyle(document.querySelector('#df-before')).clipPath") == "inset(0px 100% 0px 0px)"
    wipe.focus()
    page.keyboard.press("End")
    assert page.evaluate("getComputedStyle(document.querySelector('#df-before')).clipPath") == "inset(0px 0% 0px 0px)"


def test_a_phone_need_not_scroll_sideways(browser: Any, app: _Watched) -> None:
    with _opened(browser, app, viewport={"width": 390, "height": 844}, has_touch=True) as page:
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390


def test_the_process_itself_reaches_for_no_other_machine(page: Any, app: _Watched) -> None:
    _slide(page, "yaw", 5)
    outside = [a for a in app.reached if isinstance(a, tuple) and a[0] not in ("127.0.0.1", "::1", "localhost")]
    assert outside == []
