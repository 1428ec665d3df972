"""The page: what of a visit is shown where, and which event does what. All that it decides is layout."""

from __future__ import annotations

import functools
import html
import importlib.util
import inspect
import math
import random
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from typing import Any

import gradio as gr

from deltafast.app.dials import Dial
from deltafast.app.leftovers import bound_sessions, forget_session
from deltafast.app.moves import BY, FACE, TO, WHOLE, amounts_of
from deltafast.app.pictures import data_address, img
from deltafast.app.studio import Studio
from deltafast.app.turns import SupersededError
from deltafast.app.visit import MAX_OWN, Visit
from deltafast.app.visits import Visits
from deltafast.app.words import amount_words, queue_words
from deltafast.errors import DeltafastError

__all__ = ["build_page", "page_css", "page_script", "page_theme"]

_BESIDE = 8  # outputs of what changes everything, beside the sliders
_FULL = 1024  # pixels of the longer side at which a finished picture is shown
_WIPE = """<label class="df-wipe"><span>After</span><input type="range" min="0" max="100" value="0"
 aria-label="How much of the picture before the edit is shown"
 oninput="document.getElementById('df-stage').style.setProperty('--cut', this.value + '%')">
<span>Before</span></label>"""
_HEAD = """<div class="df-head"><div><h1>deltafast</h1>
<p>Faces, edited by exact amounts. Nothing leaves this machine.</p></div></div>"""
_SAVE = """(name, address) => { if (!address) return;
 const a = document.createElement('a'); a.href = address; a.download = name;
 document.body.append(a); a.click(); a.remove(); }"""


def _path_of(payload: Any) -> str | None:
    """The path of an upload, which Gradio is kept from opening: our own reader does."""
    return None if payload is None else str(payload.path)


def page_css() -> str:
    """Return the page's style sheet."""
    return resources.files("deltafast.app").joinpath("page.css").read_text(encoding="utf-8")


def page_script() -> str:
    """Return what the page does by itself while a slider moves."""
    return resources.files("deltafast.app").joinpath("page.js").read_text(encoding="utf-8")


def page_theme() -> Any:
    """Return the page's theme: its fonts are those of the visitor's machine."""
    fonts = ["ui-sans-serif", "system-ui", "Segoe UI", "Helvetica Neue", "sans-serif"]
    return gr.themes.Base(
        primary_hue="teal", neutral_hue="stone", font=fonts, font_mono=["ui-monospace", "monospace"], radius_size="lg"
    )


def build_page(studio: Studio, visits: Visits) -> Any:
    """Return the page as Gradio's `Blocks`."""
    page = _Page(studio, visits)
    return page.blocks


def _told(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a user's mistake into a message on the page, and a superseded request into no change."""

    def refused(error: DeltafastError) -> gr.Error:
        return gr.Error(html.escape(str(error)), duration=12, print_exception=False, title="That did not work")

    @functools.wraps(method)
    def run(*given: Any) -> Any:
        try:
            return method(*given)
        except SupersededError:
            return gr.skip()
        except DeltafastError as error:
            raise refused(error) from None

    @functools.wraps(method)
    def run_on(*given: Any) -> Iterator[Any]:
        try:
            yield from method(*given)
        except SupersededError:
            yield gr.skip()
        except DeltafastError as error:
            raise refused(error) from None

    return run_on if inspect.isgeneratorfunction(method) else run


class _Page:
    """The components, and the handlers that fill them from the visit of each request."""

    def __init__(self, studio: Studio, visits: Visits) -> None:
        self._studio = studio
        self._visits = visits
        with gr.Blocks(title="deltafast", analytics_enabled=False, fill_width=True) as self.blocks:
            gr.HTML(_HEAD)
            with gr.Row(elem_id="df-main", equal_height=False):
                with gr.Column(scale=5, min_width=300, elem_id="df-view"):
                    self._build_view()
                with gr.Column(scale=4, min_width=300, elem_id="df-panel"):
                    self._build_source()
                    self._build_edits()
                    self._build_own()
            self._key = gr.Textbox(visible="hidden", label="Key of this visit", elem_id="df-key")
            self._rest = gr.Button("The sliders rest", visible="hidden", elem_id="df-rest")
            self._saved_name = gr.Textbox(visible="hidden", label="Name of the file to save")
            self._saved = gr.Textbox(visible="hidden", label="File to save")
            self._timer = gr.Timer(1.0, active=False)
            self._connect()
        bound_sessions(self.blocks, visits.most)
        visits.ended = lambda key: forget_session(self.blocks, key)
        self.blocks.queue(default_concurrency_limit=None, max_size=256)

    # ---- layout ------------------------------------------------------------------------------------------------------

    def _build_view(self) -> None:
        with gr.Column(elem_id="df-stage"):
            self._before = gr.HTML(img(None, "before", ""), elem_id="df-before")
            self._after = gr.HTML(img(None, "after", ""), elem_id="df-after")
        gr.HTML(_WIPE)
        self._status = gr.HTML(_status(["Sample a face, or bring a photo."]), elem_id="df-status")
        self._progress = gr.HTML("", elem_id="df-progress")
        self._stop = gr.Button("Stop refining", size="sm", visible=False, elem_id="df-stop")
        self._view = gr.Radio([FACE, WHOLE], value=FACE, label="Shown and saved", visible=False, elem_id="df-which")
        self._which = gr.Radio([], label="Face in the photo, the largest first", visible=False, elem_id="df-faces")
        with gr.Row(elem_id="df-save"):
            self._save_png = gr.Button("Save picture", min_width=130, elem_id="df-save-png")
            self._save_gif = gr.Button("Save GIF", min_width=90, elem_id="df-save-gif")
            has_video = importlib.util.find_spec("av") is not None
            self._save_mp4 = gr.Button("Save MP4", min_width=90, visible=has_video, elem_id="df-save-mp4")
            self._save_latents = gr.Button("Save latents", min_width=130, elem_id="df-save-latents")

    def _build_source(self) -> None:
        with gr.Tabs(elem_id="df-source"):
            with gr.Tab("Sample"), gr.Row(elem_classes="df-line"):
                self._seed = gr.Number(7, label="Seed", precision=0, minimum=0, maximum=2**32 - 1, min_width=110)
                self._sample = gr.Button("Show face", variant="primary", min_width=110, elem_id="df-sample")
                self._random = gr.Button("Another face", min_width=110, elem_id="df-random")
            with gr.Tab("Photo"):
                self._photo = gr.Image(
                    type="filepath",
                    sources=["upload", "clipboard", "webcam"],
                    label="A photo of one face: drop it, paste it, or use the camera",
                    height=190,
                    buttons=[],
                    elem_id="df-photo",
                )
                self._photo.preprocess = _path_of
            with gr.Tab("Latents"):
                self._latents = gr.File(
                    label="Latents (.safetensors, .pt, .npy, .npz)",
                    file_types=[".safetensors", ".pt", ".npy", ".npz"],
                    type="filepath",
                    height=140,
                    elem_id="df-latents",
                )

    def _build_edits(self) -> None:
        with gr.Column(elem_id="df-edits"):
            with gr.Row(elem_classes="df-line"):
                self._mode = gr.Radio([BY, TO], value=BY, label="Sliders", elem_id="df-mode", min_width=262)
                self._undo = gr.Button("Undo", min_width=70, elem_id="df-undo")
                self._reset = gr.Button("Reset", min_width=70, elem_id="df-reset")
            self._sliders = [self._slider(dial, key) for key, dial in self._studio.dials.items()]
            self._sliders += [self._slider(None, f"own-{number}") for number in range(MAX_OWN)]

    def _slider(self, dial: Dial | None, name: str) -> Any:
        name = "".join(c if c.isalnum() else "-" for c in name)
        if dial is None:
            return gr.Slider(
                -3,
                3,
                0,
                step=0.05,
                label="Own editor",
                visible=False,
                elem_id=f"df-dial-{name}",
                elem_classes="df-dial",
            )
        return gr.Slider(
            dial.low,
            dial.high,
            dial.neutral,
            step=dial.step,
            label=dial.label,
            info=dial.unit_name,
            buttons=[],
            elem_id=f"df-dial-{name}",
            elem_classes="df-dial",
        )

    def _build_own(self) -> None:
        with gr.Accordion("An editor of your own", open=False, elem_id="df-own"):
            self._editor = gr.File(
                label="An editor (.safetensors) or a direction (.npy, .npz, .pt, .pth)",
                file_types=[".safetensors", ".npy", ".npz", ".pt", ".pth"],
                type="filepath",
                height=140,
                elem_id="df-editor",
            )

    def _connect(self) -> None:
        everything = [self._before, self._after, self._status, self._view, self._which]
        everything += [self._timer, self._progress, self._stop, *self._sliders]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        shown: dict[str, Any] = {
            "show_progress": "minimal",
            "show_progress_on": self._status,
            "api_visibility": "private",
        }
        settled = [self._after, self._status]

        def then_settle(event: Any) -> None:
            event.then(_told(self._on_settle), [self._view], settled, trigger_mode="multiple", **quiet)

        self.blocks.load(_told(self._on_load), [self._mode], [self._key, *everything], **quiet)
        self.blocks.unload(self._on_unload)
        self._sample.click(_told(self._on_sample), [self._seed, self._mode], everything, **shown)
        self._seed.submit(_told(self._on_sample), [self._seed, self._mode], everything, **shown)
        self._random.click(_told(self._on_random), [self._mode], [self._seed, *everything], **shown)
        self._photo.input(_told(self._on_photo), [self._photo, self._mode], everything, **shown).then(
            lambda: None, None, self._photo, **quiet
        )
        reload = self._latents.upload(_told(self._on_latents), [self._latents, self._mode], everything, **shown)
        reload.then(lambda: None, None, self._latents, **quiet)
        then_settle(reload)
        self._editor.upload(_told(self._on_editor), [self._editor, self._mode], self._sliders, **shown).then(
            lambda: None, None, self._editor, **quiet
        )
        self._rest.click(
            _told(self._on_rest),
            [self._mode, self._view, *self._sliders],
            settled,
            trigger_mode="multiple",
            **quiet,
        )
        then_settle(
            self._undo.click(_told(self._on_undo), [self._mode, self._view], [self._after, *self._sliders], **quiet)
        )
        then_settle(
            self._reset.click(_told(self._on_reset), [self._mode, self._view], [self._after, *self._sliders], **quiet)
        )
        self._mode.input(_told(self._on_mode), [self._mode], self._sliders, **quiet)
        self._view.input(_told(self._on_view), [self._view], [self._before, self._after], **quiet)
        self._which.input(_told(self._on_which), [self._which, self._mode], everything, **shown)
        self._stop.click(_told(self._on_stop), None, None, **quiet)
        then_settle(self._timer.tick(_told(self._on_tick), [self._mode, self._view], everything, **quiet))
        for button, handler in (
            (self._save_png, self._on_save_png),
            (self._save_latents, self._on_save_latents),
            (self._save_gif, self._on_save_gif),
            (self._save_mp4, self._on_save_mp4),
        ):
            saved = [self._saved_name, self._saved]
            button.click(_told(handler), [self._view], saved, **shown).then(None, saved, None, js=_SAVE).then(
                lambda: ("", ""), None, saved, **quiet
            )

    # ---- handlers ----------------------------------------------------------------------------------------------------

    def _visit(self, request: gr.Request) -> Visit:
        visit = self._visits.of(request.session_hash)
        for note in visit.take_notes():
            gr.Warning(note, duration=12)
        return visit

    def _on_load(self, mode: str, request: gr.Request) -> Any:
        visit = self._visit(request)
        if visit.face is None:
            visit.sample(7)
        return [visit.key, *self._everything(visit, mode)]

    def _on_unload(self, request: gr.Request) -> None:
        self._visits.end(request.session_hash)

    def _on_sample(self, seed: float | None, mode: str, request: gr.Request) -> Iterator[Any]:
        visit = self._visit(request)
        yield from self._queue()
        visit.sample(-1 if seed is None else int(seed))
        yield self._everything(visit, mode)

    def _on_random(self, mode: str, request: gr.Request) -> Iterator[Any]:
        seed = random.randrange(100_000)
        for shown in self._on_sample(seed, mode, request):
            yield [seed, *shown]

    def _on_photo(self, path: str | None, mode: str, request: gr.Request) -> Iterator[Any]:
        if path is None:
            yield gr.skip()
            return
        visit = self._visit(request)
        yield from self._queue()
        visit.bring_photo(path)
        yield self._everything(visit, mode)

    def _on_which(self, number: int | None, mode: str, request: gr.Request) -> Iterator[Any]:
        visit = self._visit(request)
        yield from self._queue()
        visit.choose_face(-1 if number is None else int(number))
        yield self._everything(visit, mode)

    def _queue(self) -> Iterator[Any]:
        """Say how many are served first, where there are any: of all outputs the status alone."""
        words = queue_words(self._studio.turns.ahead())
        if words:
            rest = [gr.skip()] * (_BESIDE - 3 + len(self._sliders))
            yield [gr.skip(), gr.skip(), _status([words]), *rest]

    def _on_latents(self, path: str | None, mode: str, request: gr.Request) -> Any:
        if path is None:
            return gr.skip()
        visit = self._visit(request)
        visit.bring_latents(path)
        return self._everything(visit, mode)

    def _on_editor(self, path: str | None, mode: str, request: gr.Request) -> Any:
        if path is None:
            return gr.skip()
        visit = self._visit(request)
        visit.bring_editor(path)
        return self._slider_updates(visit, mode)

    def _on_rest(self, mode: str, view: str, request: gr.Request, *values: Any) -> Iterator[Any]:
        visit = self._visit(request)
        visit.stand_at(amounts_of(visit, mode, values))
        yield from self._on_settle(view, request)

    def _on_settle(self, view: str, request: gr.Request) -> Iterator[Any]:
        visit = self._visit(request)
        words = queue_words(self._studio.turns.ahead())
        if words:
            yield [gr.skip(), _status([words])]
        if visit.finish():
            yield [self._after_picture(visit, view), gr.skip()]
        _, said = visit.settle()
        yield [self._after_picture(visit, view), _status([*said, *visit.fit_words()])]

    def _on_undo(self, mode: str, view: str, request: gr.Request) -> Any:
        visit = self._visit(request)
        visit.undo()
        return [self._after_picture(visit, view), *self._slider_updates(visit, mode)]

    def _on_reset(self, mode: str, view: str, request: gr.Request) -> Any:
        visit = self._visit(request)
        visit.move({})
        return [self._after_picture(visit, view), *self._slider_updates(visit, mode)]

    def _on_mode(self, mode: str, request: gr.Request) -> Any:
        return self._slider_updates(self._visit(request), mode)

    def _on_view(self, view: str, request: gr.Request) -> Any:
        before, after = self._visit(request).pictures(view == WHOLE)
        return [img(before, "before", "before the edit", _FULL), img(after, "after", "after the edit", _FULL)]

    def _on_stop(self, request: gr.Request) -> None:
        refinement = self._visit(request).refinement
        if refinement is not None:
            refinement.stop()

    def _on_tick(self, mode: str, view: str, request: gr.Request) -> Any:
        visit = self._visit(request)
        refinement = visit.refinement
        if refinement is None or (refinement.state == "running" and not visit.has_news):
            return [*[gr.skip()] * (_BESIDE - 2), _progress(refinement), *[gr.skip()] * (1 + len(self._sliders))]
        running = refinement.state == "running"
        end = [gr.Timer(active=running), _progress(refinement), gr.Button(visible=running)]
        if not visit.take_news():  # what is shown and said stays
            return [*[gr.skip()] * (_BESIDE - 3), *end, *[gr.skip()] * len(self._sliders)]
        if visit.amounts:
            visit.move(dict(visit.amounts))  # the edits, on the better reconstruction
        before, after = visit.pictures(view == WHOLE)
        return [
            img(before, "before", "before the edit", _FULL),
            img(after, "after", "after the edit", _FULL),
            _status(visit.fit_words()),
            gr.skip(),
            gr.skip(),
            *end,
            *self._slider_updates(visit, mode),
        ]

    def _on_save_png(self, view: str, request: gr.Request) -> Any:
        visit = self._visit(request)
        data = visit.picture_file(view == WHOLE)
        assert visit.face is not None
        return [f"{visit.face.name}-edited.png", data_address(data, "image/png")]

    def _on_save_gif(self, _: str, request: gr.Request) -> Any:
        return self._moving_picture("gif", request)

    def _on_save_mp4(self, _: str, request: gr.Request) -> Any:
        return self._moving_picture("mp4", request)

    def _moving_picture(self, kind: str, request: gr.Request) -> Any:
        visit = self._visit(request)
        data = visit.moving_picture(kind)
        assert visit.face is not None
        return [f"{visit.face.name}-edited.{kind}", data_address(data, "image/gif" if kind == "gif" else "video/mp4")]

    def _on_save_latents(self, _: str, request: gr.Request) -> Any:
        visit = self._visit(request)
        data = visit.latents()
        assert visit.face is not None
        return [f"{visit.face.name}.safetensors", data_address(data, "application/octet-stream")]

    # ---- what is shown -----------------------------------------------------------------------------------------------

    def _everything(self, visit: Visit, mode: str) -> list[Any]:
        before, after = visit.pictures(False)
        refining = visit.refinement is not None and visit.refinement.state == "running"
        is_photo = visit.face is not None and visit.face.photo is not None
        return [
            img(before, "before", "before the edit", _FULL),
            img(after, "after", "after the edit", _FULL),
            _status(visit.fit_words() or ["A face that nobody has. Move a slider."]),
            gr.Radio(visible=is_photo, value=FACE),
            _faces(visit),
            gr.Timer(active=refining),
            _progress(visit.refinement),
            gr.Button(visible=refining),
            *self._slider_updates(visit, mode),
        ]

    def _after_picture(self, visit: Visit, view: str) -> str:
        _, after = visit.pictures(view == WHOLE)
        return img(after, "after", "after the edit", _FULL)

    def _slider_updates(self, visit: Visit, mode: str) -> list[Any]:
        updates: list[Any] = []
        dials = visit.dials
        for key, dial in dials.items():
            by, before = visit.amounts.get(key, dial.neutral), visit.readings(key)
            low, high, value, info = dial.low, dial.high, by, dial.unit_name
            is_known = dial.unit is not None and not math.isnan(before)
            if mode == TO and dial.unit is not None and is_known:
                low, high, value = (dial.to(amount, before) for amount in (low, high, value))
            if is_known:
                info += f"; the face shows {amount_words(before, dial.unit_name)}"
            updates.append(
                gr.Slider(
                    minimum=dial.shown(low),
                    maximum=dial.shown(high),
                    value=dial.shown(value),
                    step=dial.step,
                    label=dial.label,
                    info=info,
                    interactive=mode == BY or dial.unit is None or is_known,
                    visible=True,
                )
            )
        return updates + [gr.Slider(visible=False)] * (len(self._sliders) - len(updates))


def _faces(visit: Visit) -> Any:
    """The choice among the faces of a photo, where there are several."""
    photo = None if visit.face is None else visit.face.photo
    count = 0 if photo is None else len(photo.faces)
    choices = [(f"Face {number + 1}", number) for number in range(count)]
    chosen = visit.face.number if visit.face is not None and count else None
    return gr.Radio(choices=choices, value=chosen, visible=count > 1)


def _status(lines: Sequence[str]) -> str:
    """Lines of words, read out as they change."""
    said = "".join(f"<li>{html.escape(line)}</li>" for line in lines if line)
    return f'<div role="status" aria-live="polite"><ul class="df-words">{said}</ul></div>'


def _progress(refinement: Any) -> str:
    """How far the refinement is, as a bar with words."""
    if refinement is None:
        return ""
    words = {
        "running": f"Refining the likeness ({refinement.level.name}): {refinement.share:.0%}",
        "done": "The likeness is as near as it gets.",
        "stopped": "Refining was stopped.",
        "failed": "The likeness could not be refined; the quick one stays.",
    }[refinement.state]
    return (
        f'<div class="df-refining"><span>{words}</span><progress max="1" value="{refinement.share:.3f}" '
        f'aria-label="Refinement of the photo"></progress></div>'
    )
