"""The code blocks of a page: fenced ones with their language, and those that are indented, as shells' are here."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FENCE = re.compile(r"^```(?P<language>\w*)(?: parsed=\"(?P<reason>[^\"]+)\")?$")
_PROMPTS = ("deltafast", "make", "pip", "python", "pre-commit", ".venv/bin/")


@dataclass(frozen=True)
class CodeBlock:
    """A block's first line in its page, its language ("" where indented), and why it is parsed alone, if it is."""

    page: str
    line: int
    language: str
    reason: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def code_blocks(page: str, text: str) -> list[CodeBlock]:
    """The blocks of a page, in order. Raises ValueError for a fence that says what this does not know."""
    found: list[CodeBlock] = []
    lines = text.splitlines()
    position = 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if line.lstrip().startswith("```"):
            opened = _FENCE.match(line)
            if opened is None:
                raise ValueError(f"{page}:{position}: {line!r} opens no block that is known here")
            stop = lines.index("```", position)
            block = "\n".join(lines[position:stop]) + "\n"
            found.append(CodeBlock(page, position + 1, opened["language"], opened["reason"], block))
            position = stop + 1
        elif line.startswith("    ") and line.strip() and (position == 1 or not lines[position - 2].strip()):
            stop = position
            while stop < len(lines) and (lines[stop].startswith("    ") or not lines[stop].strip()):
                stop += 1
            block = "\n".join(one[4:] for one in lines[position - 1 : stop]).rstrip() + "\n"
            found.append(CodeBlock(page, position, "", None, block))
            position = stop
    return found


def commands(text: str) -> list[str]:
    """The commands that an indented block types, one a line, those that go on after a backslash put together."""
    whole = re.sub(r"\\\n\s*", " ", text)
    return [line for line in whole.splitlines() if line.startswith(_PROMPTS)]
