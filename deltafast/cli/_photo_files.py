"""What the commands for photos have in common: choices as they are typed, and the end of a run."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import typer

from deltafast.errors import DeltafastError, InvalidInputError
from deltafast.inputs import Failures

if TYPE_CHECKING:
    from deltafast.faces.alignment import FaceChoice

__all__ = ["align_choice", "face_choice", "one_of", "reported", "warned"]


def one_of(option: str, text: str, choices: Sequence[str]) -> str:
    """Return `text`. Raises `InvalidInputError` that names the option unless it is one of `choices`."""
    if text not in choices:
        raise InvalidInputError(f"{option} is one of {', '.join(choices)}; got {text!r}")
    return text


def align_choice(text: str) -> bool | Literal["auto"]:
    """Return what `--align` asks for, as `edit_batch` takes it: "auto", True or False. Raises `InvalidInputError`."""
    choices: dict[str, bool | Literal["auto"]] = {"auto": "auto", "always": True, "never": False}
    return choices[one_of("--align", text, list(choices))]


def face_choice(text: str) -> FaceChoice:
    """Return what `--faces` asks for. Raises `InvalidInputError` unless it is largest, all or a number from 0."""
    if text == "largest" or text == "all":
        return "largest" if text == "largest" else "all"
    if not re.fullmatch(r"\d{1,6}", text):
        raise InvalidInputError(f"--faces is largest, all, or a face's number from 0 on; got {text!r}")
    return int(text)


def reported(failures: Failures, count: int, what: str) -> None:
    """Name each failure on stderr and raise `DeltafastError` that counts them; do nothing where there is none."""
    for label, reason in failures.told.items():
        typer.echo(f"skipped {label}: {reason}", err=True)
    if failures:
        raise DeltafastError(f"{len(failures)} of {count} {what}; the rest is done")


@contextmanager
def warned(label: str) -> Iterator[None]:
    """Say in one line each what did not get to where it was asked to."""
    from deltafast.editing import UnreachedWarning

    told: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UnreachedWarning)
            yield
    finally:  # after an error, what was done before it
        for warning in told:
            if issubclass(warning.category, UnreachedWarning):
                typer.echo(f"warning: {label}: {warning.message}", err=True)
            else:
                warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)
