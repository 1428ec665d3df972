"""`deltafast sequences`: one's own pictures of an attribute, for `deltafast project` and `deltafast train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["sequences"]


def sequences(
    pictures: Annotated[
        Path,
        typer.Argument(
            help="A folder with one folder of pictures for each identity, in order; or pictures called ANNA-before, "
            "ANNA-after, or ANNA-0, ANNA-1 ...; or the folders before and after, with ANNA in both."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the aligned frames and manifest.json.")],
    attribute: Annotated[str, typer.Option(help="What the pictures change, in one word: beard, age, glasses ...")],
    values: Annotated[
        str | None,
        typer.Option(help="The attribute's value at each picture, such as -20,0,20; default: 0 to 1 in equal steps."),
    ] = None,
    align: Annotated[
        str, typer.Option(help="Find and align the largest face: auto (unless they are aligned), always, never.")
    ] = "auto",
) -> None:
    """Make sequences of a new attribute from one's own pictures of two or more people; interrupted, it goes on.

    Then: deltafast project OUT LATENTS; deltafast train LATENTS --attribute ATTRIBUTE --out ATTRIBUTE.safetensors.
    """
    from deltafast.cli._photo_files import align_choice
    from deltafast.errors import InvalidInputError
    from deltafast.projection.pictures import sequences_of_pictures

    try:
        numbers = None if values is None else [float(value) for value in values.split(",")]
    except ValueError as error:
        raise InvalidInputError(f"--values are numbers such as -20,0,20; got {values!r}") from error
    found = sequences_of_pictures(pictures, out, attribute, values=numbers, align=align_choice(align))
    print(f"{len(found)} identities ({', '.join(found)}) in {out} (see manifest.json)")
