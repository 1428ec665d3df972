"""The app on a port: this machine's own unless a password is set; its page loads nothing from elsewhere."""

from __future__ import annotations

import contextlib
import hmac
import ipaddress
import json
import os
import socket
import tempfile
import threading
import warnings
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltafast.app.moves import Moves
from deltafast.app.studio import Studio
from deltafast.app.uploads import MAX_UPLOAD, Shelf
from deltafast.app.visits import Visits
from deltafast.editing import UnreachedWarning
from deltafast.errors import DeltafastError, InvalidInputError

__all__ = ["AppOptions", "is_loopback", "running", "serve"]

_UPLOAD = "/gradio_api/upload"
_MOVES = "/moves"
_ENVELOPE = 1_000_000  # bytes that a request may have beyond the file that it uploads
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' data: blob:; frame-ancestors 'none'; form-action 'self'"
)
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}


@dataclass(frozen=True)
class AppOptions:
    """Where the app listens: `host`, `port` (0: any that is free), `password_file`, whether a `browser` is opened.

    Raises `InvalidInputError` for a host off the loopback without a password, and for a password file that cannot be
    read, is empty, or holds fewer than 8 characters.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    password_file: Path | None = None
    browser: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise InvalidInputError(f"a port is 0 to 65535, got {self.port}")
        if self.password_file is None and not is_loopback(self.host):
            raise InvalidInputError(
                f"--host {self.host} lets other machines in: give --password-file, a file with the password that they "
                "must type"
            )
        if self.password_file is not None:
            self.password()

    def password(self) -> str | None:
        """Return the password in the file, its first line; None without one."""
        if self.password_file is None:
            return None
        try:
            text = self.password_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{self.password_file} cannot be read as a password file: {error}") from error
        word = text.splitlines()[0].strip() if text.strip() else ""
        if len(word) < 8:
            raise InvalidInputError(f"{self.password_file}: a password has at least 8 characters, in the first line")
        return word


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host's name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def serve(studio: Studio, options: AppOptions, said: Callable[[str], None] = print) -> None:
    """Serve the app until the process is interrupted; `said` is told its address."""
    with running(studio, options) as (address, server):
        said(f"deltafast app: {address}  (Ctrl-C ends it)")
        if options.browser:
            webbrowser.open(address)
        server.join()


@contextlib.contextmanager
def running(studio: Studio, options: AppOptions) -> Iterator[tuple[str, threading.Thread]]:
    """Serve the app in a thread for the length of the block; yield its address and the thread.

    Raises `DeltafastError` where Gradio is not installed or the port is taken.
    """
    shelf = Shelf()
    before = tempfile.tempdir
    try:
        # whatever writes a temporary file, Gradio and its form parser included, writes it there
        tempfile.tempdir = str(shelf.folder)
        os.environ["GRADIO_TEMP_DIR"] = str(shelf.folder)
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000000"  # else it adds up all events after each of them
        os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
        os.environ["HF_HUB_OFFLINE"] = "1"
        warnings.simplefilter("ignore", UnreachedWarning)  # the page says it
        bound = _bound(options)
        port = bound.getsockname()[1]
        server = _server(_application(studio, options, shelf, port))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="app", daemon=True)
        thread.start()
        host = f"[{options.host}]" if ":" in options.host else options.host
        try:
            while thread.is_alive() and not server.started:
                thread.join(0.05)
            yield f"http://{host}:{port}/", thread
        finally:
            server.should_exit = True
            thread.join(5)
            server.force_exit = True
            thread.join(5)
            bound.close()
    finally:
        tempfile.tempdir = before
        shelf.remove()


def _bound(options: AppOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((options.host.strip("[]"), options.port))
    except OSError as error:
        bound.close()
        reason = error.strerror or error
        raise DeltafastError(f"cannot listen on {options.host}:{options.port}: {reason}; try another --port") from error
    return bound


def _server(application: Any) -> Any:
    import uvicorn

    config = uvicorn.Config(application, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    return uvicorn.Server(config)


def _application(studio: Studio, options: AppOptions, shelf: Shelf, port: int) -> Any:
    try:
        import fastapi
        import gradio
    except ImportError as error:
        raise DeltafastError('the app needs the extra `app`: pip install "deltafast[app]"') from error
    from deltafast.app.page import build_page, page_css, page_script, page_theme

    password = options.password()

    def allowed(_: str, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (password or "").encode())

    visits = Visits(studio)
    application = gradio.mount_gradio_app(
        fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        build_page(studio, visits),
        path="/",
        server_name=options.host,
        server_port=port,
        footer_links=[],
        run_history=False,
        auth=allowed if password else None,
        auth_message="Any name, and the password of whoever runs this." if password else None,
        max_file_size=MAX_UPLOAD,
        show_error=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        theme=page_theme(),
        css=page_css(),
        head=f"<script>{page_script()}</script>",
    )
    return _Door(application, Moves(visits), shelf, None if password else port)


class _Door:
    """What every request passes: names of this machine only, bounded uploads, and headers that forbid what is outside.

    `port` None lets requests in by any name (there is a password). Without that check a page of another site whose
    name is made to point at this machine could use the app.
    """

    def __init__(self, inner: Any, moves: Moves, shelf: Shelf, port: int | None) -> None:
        self._inner = inner
        self._moves = moves
        self._shelf = shelf
        self._port = port

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").rpartition(":")[0] or headers.get(b"host", b"").decode(
            "latin-1"
        )
        if self._port is not None and not is_loopback(host):
            await _refuse(send, 421, "this app answers to 127.0.0.1 and localhost alone")
            return
        is_upload = scope["path"].endswith(_UPLOAD)
        if is_upload:
            length = headers.get(b"content-length", b"")
            if not length.isdigit() or int(length) > MAX_UPLOAD + _ENVELOPE:
                await _refuse(send, 413, f"a file may have at most {MAX_UPLOAD // 1_000_000} MB")
                return
            if not self._shelf.has_room():
                await _refuse(send, 429, "too many uploads at once: try again in a moment")
                return
        inner = self._moves if scope["path"] == _MOVES and scope["method"] == "POST" else self._inner
        await inner(scope, receive, _Answer(send, self._shelf if is_upload else None))


class _Answer:
    """An answer on its way: our headers onto it; of uploads, the places that no other upload shares."""

    def __init__(self, send: Any, shelf: Shelf | None) -> None:
        self._send = send
        self._shelf = shelf
        self._start: Any = None
        self._body = b""

    async def __call__(self, message: Any) -> None:
        """Pass one message of the answer on."""
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message["headers"] if name.lower() not in _HEADERS]
            message = {**message, "headers": [*kept, *_HEADERS.items()]}
            if self._shelf is not None:
                self._start = message
                return
        elif message["type"] == "http.response.body" and self._start is not None:
            self._body += message.get("body", b"")
            if message.get("more_body"):
                return
            body = self._moved()
            kept = [pair for pair in self._start["headers"] if pair[0].lower() != b"content-length"]
            length = (b"content-length", str(len(body)).encode())
            await self._send({**self._start, "headers": [*kept, length]})
            message = {**message, "body": body}
        await self._send(message)

    def _moved(self) -> bytes:
        assert self._shelf is not None
        if self._start["status"] != 200:
            return self._body
        return json.dumps([str(self._shelf.own_place(Path(path))) for path in json.loads(self._body)]).encode()


async def _refuse(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_HEADERS.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
