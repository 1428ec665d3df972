"""The command line: `deltafast COMMAND`.

Every module of this room that does not start with an underscore is one command: `train_encoder.py` holds the
function `train_encoder`, whose docstring is the help of `deltafast train-encoder`. The modules import what is heavy
inside their function, so that `deltafast --help` answers at once.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import pkgutil
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from deltafast import __version__
from deltafast.errors import DeltafastError
from deltafast.memory import keep_freed_memory

__all__ = ["app", "main"]

INTERRUPTED = 130  # the exit code that shells give a program ended by Ctrl-C
TERMINATED = 143  # ... and by SIGTERM


def _reporting(command: Callable[..., Any]) -> Callable[..., None]:
    """Return `command` such that a user's mistake ends in one line on stderr and exit code 1, Ctrl-C in 130."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except DeltafastError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            print(
                "\ninterrupted: what was finished of a long run is kept, and the same command continues from there",
                file=sys.stderr,
            )
            raise typer.Exit(INTERRUPTED) from None

    return run


def _print_version(asked: bool) -> None:
    if asked:
        print(f"deltafast {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Explicit, continuous, disentangled edits of faces in a StyleGAN's W+ space."""


def command_names() -> list[str]:
    """Return the names of all commands as they are typed, sorted."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in found if not name.startswith("_"))


def _build() -> typer.Typer:
    built = typer.Typer(
        name="deltafast", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, callback=_options
    )
    for name in command_names():
        module_name = name.replace("-", "_")
        module = importlib.import_module(f"deltafast.cli.{module_name}")
        built.command(name)(_reporting(getattr(module, module_name)))
    return built


app = _build()


def main() -> None:
    """Run the command line on the process's arguments; the console script `deltafast`."""
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name need not be text
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _terminate)
    app(prog_name="deltafast")


def _terminate(*_: object) -> None:
    """End as after Ctrl-C, so that workers are ended and temporary files removed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(TERMINATED)
