"""Photos on the command line: which files, under which names their faces are written, and which failed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from deltafast.errors import DeltafastError, InvalidInputError

if TYPE_CHECKING:
    from deltafast.faces.alignment import FaceChoice

__all__ = ["align_choice", "face_choice", "names_of", "photo_names", "reported", "tell_of_animation"]


def align_choice(text: str) -> bool | Literal["auto"]:
    """Return what `--align` asks for, as `edit_batch` takes it: "auto", True or False. Raises `InvalidInputError`."""
    choices: dict[str, bool | Literal["auto"]] = {"auto": "auto", "always": True, "never": False}
    if text not in choices:
        raise InvalidInputError(f"--align is one of {', '.join(choices)}; got {text!r}")
    return choices[text]


def face_choice(text: str) -> FaceChoice:
    """Return what `--faces` asks for. Raises `InvalidInputError` unless it is largest, all or a number from 0."""
    if text == "largest" or text == "all":
        return "largest" if text == "largest" else "all"
    if not re.fullmatch(r"\d{1,6}", text):
        raise InvalidInputError(f"--faces is largest, all, or a face's number from 0 on; got {text!r}")
    return int(text)


def photo_names(photos: Path, out: Path) -> dict[Path, str]:
    """Return every photo of a folder (or the one given) with the name for what is made of it.

    Raises `InvalidInputError` where there is none, or where the results would lie among the photos.
    """
    from deltafast.files import list_images

    if not photos.exists():
        raise InvalidInputError(f"{photos} is neither a folder nor a file")
    folder = photos if photos.is_dir() else photos.parent
    if folder.resolve() == out.resolve():
        raise InvalidInputError(f"OUT must be another folder than that of the photos, {folder}")
    paths = list_images(photos) if photos.is_dir() else [photos]
    if not paths:
        raise InvalidInputError(f"{photos} holds no images")
    return names_of(paths)


def names_of(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the stem of each file, or its whole name where that with or without a number would name another's too."""
    stems = ["settings", *(path.stem for path in paths)]  # settings.json is the run's own
    return {path: path.stem if _is_free(path.stem, stems) else path.name for path in paths}


def _is_free(stem: str, stems: Sequence[str]) -> bool:
    numbered = re.compile(re.escape(stem) + r"-\d+")
    return stems.count(stem) == 1 and not any(numbered.fullmatch(other) for other in stems)


def tell_of_animation(path: Path) -> None:
    """Say on stderr that of an animation only the first frame is taken. Raises `ImageError` as `read_image` does."""
    from deltafast.files import is_animation

    if is_animation(path):
        typer.echo(f"{path} is an animation: its first frame is taken", err=True)


def reported(failures: Sequence[str], count: int, what: str) -> None:
    """Name each failure on stderr and raise `DeltafastError` that counts them; do nothing where there is none."""
    for failure in failures:
        typer.echo(f"skipped {failure}", err=True)
    if failures:
        raise DeltafastError(f"{len(failures)} of {count} {what}; the rest is done")
