"""`deltafast forget`: removes from a folder what was made of a photo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["forget"]


def forget(
    folder: Annotated[Path, typer.Argument(help="A folder that project, edit, align or sequences wrote")],
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Names of results, as in finished.jsonl or index.parquet; all: none"),
    ] = None,
) -> None:
    """Remove latents, tuned faces, pictures and records that were made of photos; photos themselves are left alone.

    Nothing but what the folder's own records name is removed: finished.jsonl, and, of runs with --ray, index.parquet,
    whose shards are written anew without the photo. Copies elsewhere, backups among them, are not found.
    """
    from deltafast.cli._wording import counted
    from deltafast.errors import DeltafastError
    from deltafast.runs import forget_results, result_names

    chosen = list(names or [])
    if not ((folder / "index.parquet").exists() or (folder / "journal").is_dir()):
        removed = forget_results(folder, chosen or None)
        typer.echo(f"{counted(len(removed), 'file')} removed from {folder}")
        return
    try:
        from deltafast.scale.forgetting import forget_samples, sample_ids

        spread = sample_ids(folder)
    except ImportError as error:
        raise DeltafastError(
            f"{folder} holds an index.parquet of a run with --ray, which cannot be read here ({error}); nothing was "
            'removed. Install pyarrow: pip install "deltafast[scale]"'
        ) from error
    listed = result_names(folder)
    for name in chosen:
        if name not in spread and name not in listed:
            forget_samples(folder, [name])  # says that there is no such row
    rows, files = forget_samples(folder, [name for name in chosen if name in spread] if chosen else None)
    if listed and (not chosen or any(name in listed for name in chosen)):
        files += len(forget_results(folder, [name for name in chosen if name in listed] or None))
    typer.echo(f"{counted(files, 'file')} and {counted(rows, 'row')} of index.parquet removed from {folder}")
