"""`deltafast info`: what is installed, what was built, and what this machine can run."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

__all__ = ["info"]


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Show versions, how the extension was built, the devices found, and where files are kept.

    Exit code 1 where the extension module cannot be loaded; the reason is then among the lines.
    """
    facts = _facts()
    if as_json:
        print(json.dumps(facts, indent=2, sort_keys=True))
    else:
        _print(facts)
    if "extension_error" in facts:
        raise typer.Exit(1)


def _facts() -> dict[str, Any]:
    from deltafast.build_info import build_info
    from deltafast.files import cache_dir

    facts = {**build_info(), "cache": str(cache_dir())}
    if "extension_error" not in facts:  # without the extension no editor runs
        from deltafast.delta.editor import list_editors

        facts["bundled editors"] = list_editors()
    return facts


def _print(facts: dict[str, Any], indent: str = "") -> None:
    """Print one line for each value, nested objects indented below their name."""
    width = max((len(name) for name, value in facts.items() if not _is_nested(value)), default=0)
    for name, value in facts.items():
        shown = name.replace("_", " ")
        if isinstance(value, dict):
            print(f"{indent}{shown}")
            _print(value, indent + "  ")
        elif _is_nested(value):
            for index, entry in enumerate(value):
                print(f"{indent}{shown} {index}")
                _print(entry, indent + "  ")
        else:
            print(f"{indent}{shown:<{width}}  {_as_text(value)}")


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(entry, dict) for entry in value))


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(str(entry) for entry in value) or "none"
    return "none" if value is None or value == "" else str(value)
