"""Every block of Python in README.md and docs/ runs; one that needs what is not here is parsed, and its calls fit."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
from code_blocks import CodeBlock, code_blocks

import deltafast
import deltafast.ops

_ROOT = Path(__file__).resolve().parents[2]
_PAGES = sorted(["README.md", *(path.relative_to(_ROOT).as_posix() for path in (_ROOT / "docs").rglob("*.md"))])
_WITH_PHOTOS = ("README.md", "docs/tutorials/my-photo.md", "docs/tutorials/my-attribute.md")
_OF_PHOTOS = ("edit_batch", "edit_stream", "animate")  # their keywords beyond the signature are those of EditOptions


def _blocks(page: str) -> list[CodeBlock]:
    return code_blocks(page, (_ROOT / page).read_text(encoding="utf-8"))


_PYTHON = [page for page in _PAGES if any(block.language == "python" for block in _blocks(page))]


def _check_calls(block: CodeBlock) -> None:
    """Raise AssertionError where a call of ours in a block is none that could be made."""
    options = {field.name for field in dataclasses.fields(deltafast.EditOptions)}
    for call in [node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Call)]:
        text = ast.unparse(call.func)
        home: Any = deltafast if text.startswith("deltafast.") else deltafast.ops
        name = text.removeprefix("deltafast.")
        if "." in name or not (home is deltafast or name in deltafast.ops.__all__):
            continue
        function = getattr(home, name)
        given = {word.arg: None for word in call.keywords if word.arg is not None}
        try:
            inspect.signature(function).bind(*call.args, **given)
        except TypeError as error:
            raise AssertionError(f"{block}: {ast.unparse(call)}: {error}") from error
        if name in _OF_PHOTOS:
            unknown = set(given) - options - set(inspect.signature(function).parameters)
            assert not unknown, f"{block}: {name} takes no {', '.join(sorted(unknown))}"


def _run(page: str, folder: Path) -> dict[str, Any]:
    """Run a page's blocks, one after the other with the same names, and return these."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in _blocks(page):
        if block.language == "python" and block.reason is None:
            code = compile("\n" * (block.line - 1) + block.text, str(_ROOT / page), "exec")
            exec(code, names)
    return names


@pytest.mark.parametrize("page", _PYTHON)
def test_the_code_of_a_page_runs(page: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue("pages_photos" if page in _WITH_PHOTOS else "pages_files")
    assert _run(page, folder)


@pytest.mark.parametrize("page", _PYTHON)
def test_the_calls_of_a_page_are_ones_that_could_be_made(page: str) -> None:
    for block in _blocks(page):
        if block.language == "python":
            _check_calls(block)


def test_every_tutorial_has_code_that_runs() -> None:
    tutorials = [page for page in _PAGES if page.startswith("docs/tutorials/")]
    assert len(tutorials) >= 7
    for page in tutorials:
        assert any(block.language == "python" and block.reason is None for block in _blocks(page)), page


def test_what_is_parsed_alone_says_why() -> None:
    parsed = [block for page in _PAGES for block in _blocks(page) if block.reason is not None]
    assert parsed
    assert all(block.reason and block.reason.startswith(("needs ", "fetches ", "compiles ")) for block in parsed)


def test_no_block_is_of_a_language_that_nothing_runs() -> None:
    others = {block.language for page in _PAGES for block in _blocks(page)} - {"", "python", "mermaid"}
    assert not others


@pytest.mark.parametrize(
    "text",
    [
        "deltafast.edit_batch(G, ws, 'yaw', angle=15)\n",
        "deltafast.load_generator()\n",
        "deltafast.RefineConfig(step=5)\n",
        "upfirdn2d(x)\n",
    ],
)
def test_a_call_that_could_not_be_made_is_found(text: str) -> None:
    with pytest.raises((AssertionError, TypeError)):
        _check_calls(CodeBlock("page.md", 1, "python", "needs a GPU", text))


def test_a_block_is_found_with_its_line_and_its_reason() -> None:
    text = 'Text\n\n    deltafast info\n\n```python parsed="needs a GPU"\nx = 1\n```\n'
    shell, python = code_blocks("page.md", text)
    assert (shell.line, shell.language, shell.text) == (3, "", "deltafast info\n")
    assert (python.line, python.reason, python.text) == (6, "needs a GPU", "x = 1\n")
    with pytest.raises(ValueError, match="opens no block"):
        code_blocks("page.md", "```python skipped\nx\n```\n")
