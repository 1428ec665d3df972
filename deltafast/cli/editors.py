"""`deltafast editors`: the editors inside the package, or what an editor file holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from deltafast.delta.editor import EditorInfo

__all__ = ["editors"]


def editors(
    files: Annotated[
        list[str] | None, typer.Argument(help="Editor files or names; all bundled ones by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure", help="See first how far each of FILES holds on a dozen sampled faces, and write it into it."
        ),
    ] = False,
    generator: Annotated[
        str, typer.Option(help="Generator for --measure: a name or a checkpoint file.")
    ] = "mobilestylegan-ffhq",
) -> None:
    """List the bundled editors, or those of FILES: their ranges, units and generators."""
    from deltafast.delta.direction import DirectionEditor
    from deltafast.delta.editor import list_editors
    from deltafast.delta.loading import load_editor

    names = list(files or list_editors())
    if measure:
        _measure(files or [], generator)
    loaded = {name: load_editor(name) for name in names}
    facts: dict[str, dict[str, Any]] = {
        name: one.as_json() if isinstance(one, DirectionEditor) else one.info.as_json() for name, one in loaded.items()
    }
    if as_json:
        print(json.dumps(facts, indent=2, sort_keys=True))
        return
    if not facts:
        print("no editors are bundled with this installation; train one with `deltafast train`")
    for name, one in loaded.items():
        if isinstance(one, DirectionEditor):
            print(f"{name:<14} a direction {list(one.direction.shape)}, which alpha 1 adds as it is")
            continue
        info = one.info
        start, end = info.value_range
        slots = ",".join(str(slot) for slot in info.slots)
        print(f"{name:<14} alpha 0..1 = {start:g}..{end:g}   slots {slots} of {info.num_ws}   {info.generator.name}")
        print(f"{'':<14} {_amounts(info)}")


def _measure(files: list[str], generator: str) -> None:
    """Measure how far the editors of files hold, and write it into them."""
    from pathlib import Path

    from deltafast.delta.editor import Editor
    from deltafast.delta.loading import load_editor
    from deltafast.delta.measured_range import measure_range
    from deltafast.errors import InvalidInputError
    from deltafast.generators.load import load_generator

    if not files:
        raise InvalidInputError("--measure takes the editor files that it writes into")
    editors: list[tuple[str, Editor]] = []
    for file in files:
        editor = load_editor(file)
        if not Path(file).is_file() or not isinstance(editor, Editor):
            raise InvalidInputError(f"--measure writes into editor files; {file} is none")
        editors.append((file, editor))
    G = load_generator(generator)
    for file, editor in editors:
        held = measure_range(editor.for_generator(G), G)
        if held is None:
            raise InvalidInputError(f"nothing reads {editor.attribute!r} off a picture: the range of {file} is unknown")
        editor.info.training["range"] = held
        editor.save(file)


def _amounts(info: EditorInfo) -> str:
    """Say in which unit --by and --to are, and how far the editor was seen to hold."""
    from deltafast.delta.amounts import UNITS

    if info.attribute not in UNITS:
        return "takes alpha alone: nothing reads this attribute off a picture"
    unit = UNITS[info.attribute]
    held: Any = info.training.get("range")
    try:
        low, high = (float(value) for value in held["by"])
        measured = f"held by {low:.3g} to {high:.3g} on {int(held['faces'])} faces"
    except (TypeError, KeyError, ValueError):  # an old file, or another's
        measured = "how far it holds was not measured"
    return f"--by, --to: {unit.name}; {measured}"
