"""Docstrings as Markdown: lists of arguments become lists, indented formulas become blocks of code."""

from __future__ import annotations

import re
from typing import Any

_ARGUMENTS = re.compile(r"(?:Arguments|Args)\b[^`]*:")
_ITEM = re.compile(r"([\w, *]+): (.*)")
_LIST = re.compile(r"\s*(?:[-*]|\d+\.) ")


def as_markdown(docstring: str) -> str:
    """Return a docstring, its indentation removed, as Markdown.

    `Arguments:` with `name: text` below becomes a list; lines that are indented by four or more below a line of text,
    a block of Python. What is Markdown already stays.
    """
    lines = docstring.splitlines()
    found: list[str] = []
    position, in_block = 0, False
    while position < len(lines):
        line = lines[position]
        position += 1
        found.append(line)
        in_block ^= line.startswith("```")
        below = [] if in_block or not line or line.startswith((" ", "```")) else _indented(lines, position)
        if not below or _LIST.match(line):
            continue
        position += len(below)
        if _ARGUMENTS.fullmatch(line):
            found += ["", *_arguments(below), ""]
        elif min(_indent(one) for one in below) >= 4:
            found += ["", "```python", *_dedented(below), "```", ""]
        else:
            found += below
    return "\n".join(found)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _indented(lines: list[str], position: int) -> list[str]:
    """The lines from `position` on that are indented, up to the first one that is not."""
    stop = position
    while stop < len(lines) and lines[stop].startswith(" "):
        stop += 1
    return lines[position:stop]


def _dedented(lines: list[str]) -> list[str]:
    least = min(_indent(line) for line in lines)
    return [line[least:] for line in lines]


def _arguments(lines: list[str]) -> list[str]:
    found: list[str] = []
    for line in _dedented(lines):
        item = None if line.startswith(" ") else _ITEM.fullmatch(line)
        if item:
            names = ", ".join(f"`{name.strip()}`" for name in item[1].split(","))
            found.append(f"- {names}: {item[2]}")
        else:
            found.append(f"  {line.strip()}")
    return found


try:
    import griffe
except ImportError:  # the rest is tested without it
    pass
else:

    class MarkdownDocstrings(griffe.Extension):
        """What mkdocstrings is told to read every docstring through."""

        def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
            """Replace the docstring of a function, class, module or attribute."""
            if obj.docstring is not None:
                obj.docstring.value = as_markdown(obj.docstring.value)
