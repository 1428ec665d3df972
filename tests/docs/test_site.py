"""The documentation builds, holds every public name, leads nowhere that is not there, and fetches nothing."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

import deltafast

_SITE = Path(__file__).resolve().parents[2] / "docs" / "site"
_LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}
_NAMED_ALONE = ("https://clipboardjs.com/", "https://bit.ly/", "http://tartarus.org/")  # in scripts' licences


def _module(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"docs_site_{name}", _SITE / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """docs/site/build.py."""
    return _module("build")


@pytest.fixture(scope="module")
def pages(build: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of pages that the site is made of."""
    folder: Path = build.assemble(tmp_path_factory.mktemp("docs")).parent / "pages"
    return folder


def test_the_navigation_holds_every_page_once(pages: Path) -> None:
    settings = (pages.parent / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"([\w/-]+\.md)$", settings[settings.index("\nnav:") :], re.MULTILINE)
    there = [path.relative_to(pages).as_posix() for path in pages.rglob("*.md")]
    assert sorted(listed) == sorted(there)
    assert "@ROOT@" not in settings


def test_blocks_are_fenced_in_words_that_the_site_knows(pages: Path) -> None:
    fences = re.findall(r"^ *```.*$", "\n".join(page.read_text(encoding="utf-8") for page in pages.rglob("*.md")), re.M)
    assert '```python title="needs a GPU"' in fences
    assert not [one for one in fences if not re.fullmatch(r'```(python( title="[^"]+")?|mermaid)?', one)]


def test_every_public_name_is_in_the_reference(build: ModuleType, pages: Path) -> None:
    for room in build.ROOMS:
        text = (pages / build.room_page(room)).read_text(encoding="utf-8")
        shown = {name.rpartition(".")[2] for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE)}
        assert shown == set(importlib.import_module(room).__all__) - {"__version__"}, room
    assert {"deltafast", "deltafast.ops", "deltafast.errors", "deltafast.memory"} <= set(build.ROOMS)
    for room in ("delta", "editing", "projection", "synthetic"):
        assert f"deltafast.{room}" in build.ROOMS


def test_the_reference_names_the_function_of_an_op_and_not_its_file(pages: Path) -> None:
    text = (pages / "reference/ops.md").read_text(encoding="utf-8")
    assert "::: deltafast.ops.upfirdn2d.upfirdn2d\n" in text
    assert "::: deltafast.editing.batch.edit_batch\n" in (pages / "reference/deltafast.md").read_text(encoding="utf-8")


def test_every_command_and_option_is_in_the_reference(pages: Path) -> None:
    from deltafast.cli import command_names

    text = (pages / "reference/command-line.md").read_text(encoding="utf-8")
    assert re.findall(r"^## deltafast (\S+)$", text, re.MULTILINE) == command_names()
    assert {"`--refine-steps`", "`--paste-back`", "`--target-gain`, `--asked-gain`"} <= set(
        re.findall(r"^\| (.+?) \|", text, re.MULTILINE)
    )


def test_links_between_pages_lead_to_pages(pages: Path) -> None:
    missing = []
    for page in pages.rglob("*.md"):
        text = re.sub(r"```.*?```|`[^`\n]*`|<!--.*?-->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in link and not (page.parent / link).is_file():
                missing.append(f"{page.relative_to(pages)}: {link}")
    assert not missing


def test_arguments_become_a_list_and_formulas_a_block() -> None:
    as_markdown = _module("docstrings").as_markdown
    text = (
        "Do it.\n\nArguments:\n  x, y: `[N]`, and\n    more.\n  gain: factor.\n\nEquivalent to (one):\n"
        "    z = x * y\n    if z:\n        z\nand\n    -z\n\n- a\n  list\n\n```python\nx = 1\n    y\n```\n"
    )
    assert as_markdown(text) == (
        "Do it.\n\nArguments:\n\n- `x`, `y`: `[N]`, and\n  more.\n- `gain`: factor.\n\n\nEquivalent to (one):\n\n"
        "```python\nz = x * y\nif z:\n    z\n```\n\nand\n\n```python\n-z\n```\n\n\n- a\n  list\n\n"
        "```python\nx = 1\n    y\n```"
    )


class _Loads(HTMLParser):
    """Collects what a page loads by itself: addresses of scripts, pictures, styles and fonts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the address of a tag that loads something."""
        given = dict(attrs)
        self.found.append(given.get(_LOADING.get(tag, "")) or "")
        self.found += re.findall(r"url\(([^)]*)\)", given.get("style") or "")


def _outside(address: str) -> bool:
    return re.match(r"\s*['\"]?(?:https?:)?//", address) is not None


@pytest.mark.slow
def test_the_site_builds_and_fetches_nothing(build: ModuleType, tmp_path: Path) -> None:
    for name in ("material", "mkdocstrings_handlers.python"):
        pytest.importorskip(name, reason="the extra `docs` is not installed (`make docs` installs it)")
    site = build.build(tmp_path).parent
    html = sorted(site.rglob("*.html"))
    assert len(html) > 30
    for page in html:
        text = page.read_text(encoding="utf-8")
        loads = _Loads()
        loads.feed(text)
        assert any(loads.found)
        assert not [one for one in loads.found if _outside(one)], page.name
        assert "@import" not in text, page.name
        assert "```" not in text, f"{page.name} has a block that was taken for text"
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not [one for one in re.findall(r"url\(([^)]*)\)", text) if _outside(one)], style.name
        assert not re.search(r"@import[^;]*//", text), style.name
    for script in site.rglob("*.js"):
        named = set(re.findall(r"https?://[\w.-]+/", script.read_text(encoding="utf-8")))
        assert named <= {*_NAMED_ALONE, "http://www.w3.org/"}, (script.name, named)
    reference = (site / "reference/ops.html").read_text(encoding="utf-8")
    assert reference.count("doc-function") >= len([one for one in deltafast.ops.__all__ if one.islower()])
    assert "Insert" in reference


def test_an_outside_address_is_found() -> None:
    loads = _Loads()
    loads.feed('<script src="https://x.org/a.js"></script><img src="a.png"><p style="background:url(//x.org/a.png)">')
    assert [one for one in loads.found if _outside(one)] == ["https://x.org/a.js", "//x.org/a.png"]
