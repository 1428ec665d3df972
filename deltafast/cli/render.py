"""`deltafast render`: sequences of synthetic heads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["render"]


def render(
    out: Annotated[Path, typer.Argument(help="Folder for the pictures and manifest.json.")],
    identities: Annotated[int, typer.Option(help="Random heads beside the female and the male one.", min=0)] = 0,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            help="yaw, pitch, smile, eyes-closed, light, mouth-open, brows-raised, light-elevation, gaze, age, "
            "gender or weight; repeat for several. Default: all."
        ),
    ] = None,
    frames: Annotated[int, typer.Option(help="Length of a sequence, odd.", min=3)] = 7,
    size: Annotated[int, typer.Option(help="Side of a picture in pixels.", min=16)] = 256,
    seed: Annotated[int, typer.Option(help="Seed of the random heads.", min=0)] = 0,
    processes: Annotated[int | None, typer.Option(help="Processes that render; default: all cores.", min=1)] = None,
) -> None:
    """Render bald synthetic heads along one attribute at a time, with a manifest of every parameter.

    Finished frames are kept: the same command continues after an interruption.
    """
    from deltafast.synthetic import ATTRIBUTES, render_sequences

    manifest = render_sequences(
        out,
        attributes=attribute or ATTRIBUTES,
        identities=identities,
        frames=frames,
        size=size,
        seed=seed,
        processes=processes,
    )
    count = len(manifest.frames)
    typer.echo(f"{count} frames of {len(manifest.identities)} heads in {out} (see manifest.json)")
