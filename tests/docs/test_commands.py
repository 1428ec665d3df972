"""Every command that README.md and docs/ type is one: the program, its options, make's targets, pip's extras."""

from __future__ import annotations

import functools
import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from code_blocks import code_blocks, commands

from deltafast.cli import app

_ROOT = Path(__file__).resolve().parents[2]
_PAGES = sorted(["README.md", *(path.relative_to(_ROOT).as_posix() for path in (_ROOT / "docs").rglob("*.md"))])
_PROGRAMS = ("benchmarks", "build_backend", "tests")


def _typed(page: str) -> list[str]:
    """The commands of a page's blocks."""
    blocks = code_blocks(page, (_ROOT / page).read_text(encoding="utf-8"))
    return [line for block in blocks if not block.language for line in commands(block.text)]


def _mentioned(page: str) -> list[str]:
    """What a page's text says of our commands, which need not be whole."""
    return re.findall(r"`(deltafast [a-z][^`]*)`", (_ROOT / page).read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=1)
def _commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    found: dict[str, Any] = group.commands
    return found


def _parse(words: list[str], *, whole: bool = True) -> None:
    """Parse what follows `deltafast`; raises what click raises, and ValueError for names that are not there."""
    name, *rest = words
    if name not in _commands():
        raise ValueError(f"deltafast has no command {name!r}")
    command = _commands()[name]
    names = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in names]
    if unknown:
        raise ValueError(f"deltafast {name} has no {', '.join(unknown)}")
    if whole:
        command.make_context(name, rest)


@pytest.mark.parametrize("page", [page for page in _PAGES if _typed(page)])
def test_every_command_of_a_page_is_one(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (_ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    extras = set(re.findall(r"^(\w+) = \[", (_ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE))
    for line in _typed(page):
        program, *words = shlex.split(line, comments=True)
        try:
            if program == "deltafast":
                _parse(words)
            elif program == "make":
                assert words[0] in targets, f"make has no target {words[0]}"
            elif program == "pip":
                named = {name for word in words for name in re.findall(r"\[([\w,]+)\]", word)}
                assert {one for name in named for one in name.split(",")} <= extras, f"no such extras: {named}"
            elif words[0] == "-m" and words[1].split(".")[0] in _PROGRAMS:
                assert importlib.util.find_spec(words[1]) is not None, f"no module {words[1]}"
            elif words[0].endswith(".py"):
                assert (_ROOT / words[0]).is_file(), f"no file {words[0]}"
        except Exception as error:
            raise AssertionError(f"{page}: {line}: {error}") from error


@pytest.mark.parametrize("page", [page for page in _PAGES if _mentioned(page)])
def test_commands_and_options_that_a_page_speaks_of_are_there(page: str) -> None:
    for text in _mentioned(page):
        try:
            _parse(text.split()[1:], whole=False)
        except ValueError as error:
            raise AssertionError(f"{page}: {text}: {error}") from error


@pytest.mark.parametrize(
    "words",
    [
        ["edti", "IN", "OUT"],
        ["edit", "IN", "OUT", "--editor", "yaw", "--angle", "15"],
        ["edit", "IN", "OUT", "--editor", "yaw", "--batch-size", "many"],
        ["edit", "IN", "OUT"],
        ["train", "LATENTS", "--attribute"],
    ],
)
def test_a_command_that_is_none_is_found(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"no command|has no|valid integer|[Mm]issing|requires an argument"):
        _parse(words)


def test_a_command_goes_on_after_a_backslash() -> None:
    assert commands("deltafast edit \\\n  IN OUT\nnot one\nmake demo\n") == ["deltafast edit  IN OUT", "make demo"]
