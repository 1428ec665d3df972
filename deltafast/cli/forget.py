"""`deltafast forget`: removes from a folder what was made of a photo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["forget"]


def forget(
    folder: Annotated[Path, typer.Argument(help="A folder that project, edit, align or sequences wrote")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names of results, as in finished.jsonl; all: none")
    ] = None,
) -> None:
    """Remove latents, tuned faces, pictures and records that were made of photos; photos themselves are left alone.

    Nothing but what the folder's own record names is removed. Copies elsewhere, backups among them, are not found.
    """
    from deltafast.runs import forget_results

    removed = forget_results(folder, names or None)
    typer.echo(f"{len(removed)} files removed from {folder}")
