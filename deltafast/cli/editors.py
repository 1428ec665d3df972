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
) -> None:
    """List the bundled editors: their names, ranges and generators."""
    from deltafast.delta.direction import DirectionEditor
    from deltafast.delta.editor import list_editors
    from deltafast.delta.loading import load_editor

    names = list(files or list_editors())
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
