"""The documentation as a site that needs no network: `make docs`, or `python docs/site/build.py OUT`.

The pages are the Markdown files of docs/ and some that stand elsewhere; the reference is made here from `__all__` and
the command line. mkdocs-material makes the site of them, mkdocstrings reads the docstrings (the extra `docs`); neither
is needed for `assemble`. Its successor, Zensical, reads the same mkdocs.yml.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SITE = Path(__file__).resolve().parent
PICTURES = {".png", ".jpg", ".svg", ".webp"}

ELSEWHERE = {  # file of the checkout -> page
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "csrc/README.md": "kernels.md",
    "deltafast/assets/README.md": "assets.md",
}

ROOMS = {  # module whose `__all__` is a page of the reference -> what it is about
    "deltafast": "What `import deltafast` offers",
    "deltafast.editing": "Editing",
    "deltafast.delta": "Editors and their training",
    "deltafast.projection": "Projection and encoders",
    "deltafast.synthetic": "Synthetic heads",
    "deltafast.sequence_latents": "Projected sequences",
    "deltafast.generators.base": "Generators: the interface",
    "deltafast.generators.synthesis": "Generators: the synthesis",
    "deltafast.generators.mapping": "Generators: the mapping",
    "deltafast.generators.compiled": "Generators: compiled and captured",
    "deltafast.generators.preview": "Generators: quick previews",
    "deltafast.faces.alignment": "Faces found and aligned",
    "deltafast.faces.pasting": "Faces put back",
    "deltafast.faces.meter": "Faces measured",
    "deltafast.ops": "Ops",
    "deltafast.scale": "Many machines",
    "deltafast.memory": "Memory",
    "deltafast.errors": "Errors",
}


def room_page(room: str) -> str:
    """The page of a room, below the folder of pages."""
    return f"reference/{room.removeprefix('deltafast.').replace('.', '-')}.md"


def assemble(folder: Path) -> Path:
    """Lay out `folder`/pages and `folder`/mkdocs.yml, replacing what was there, and return the latter."""
    pages = folder / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    homes = _homes()
    for source, page in homes.items():
        target = pages / page
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".md":
            target.write_text(_with_links(source, page, homes), encoding="utf-8")
        else:
            shutil.copyfile(ROOT / source, target)
    (pages / "reference").mkdir()
    for room, subject in ROOMS.items():
        (pages / room_page(room)).write_text(reference(room, subject), encoding="utf-8")
    (pages / "reference/command-line.md").write_text(command_line(), encoding="utf-8")
    settings = (SITE / "mkdocs.yml").read_text(encoding="utf-8")
    (folder / "mkdocs.yml").write_text(settings.replace("@ROOT@", ROOT.as_posix()), encoding="utf-8")
    return folder / "mkdocs.yml"


def _homes() -> dict[str, str]:
    """File of the checkout -> its place among the pages, for every page and picture."""
    docs = ROOT / "docs"
    own = [path for path in docs.rglob("*") if path.suffix in {".md", *PICTURES} and SITE not in path.parents]
    return {**{f"docs/{p}": str(p) for p in sorted(path.relative_to(docs).as_posix() for path in own)}, **ELSEWHERE}


_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_PARSED = re.compile(r'^```python parsed="([^"]+)"$', re.MULTILINE)  # for the tests; readers are told why
_FETCHED = re.compile(r"https://(?:unpkg\.com|(?:api\.)?github\.com|gitlab\.com)/")
_CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.MULTILINE | re.DOTALL)


def _with_links(source: str, page: str, homes: dict[str, str]) -> str:
    """A page's text, its links to other pages as they lie in the site; links to other files are their names alone."""

    def placed(match: re.Match[str]) -> str:
        sign, text, link = match.groups()
        place, hash_, part = link.partition("#")
        if "://" in link or not place:
            return match[0]
        meant = _normal(PurePosixPath(source).parent / place)
        if meant not in homes:
            return text
        here = PurePosixPath(page).parent
        up = "../" * len(here.parts)
        return f"{sign}[{text}]({up}{homes[meant]}{hash_}{part})"

    text = _PARSED.sub(r'```python title="\1"', (ROOT / source).read_text(encoding="utf-8"))
    parts = _CODE.split(text)  # code at odd places
    return "".join(part if k % 2 else _LINK.sub(placed, part) for k, part in enumerate(parts))


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


def reference(room: str, subject: str) -> str:
    """The page of a room's public names; mkdocstrings puts the docstrings in."""
    lines = [f"# {subject}", "", f"`{room}`", ""]
    for name in public_names(room):
        lines += [f"::: {_defined_in(room, name)}.{name}", ""]
    return "\n".join(lines)


def public_names(module: str) -> list[str]:
    """What `__all__` of a module lists, read without importing it, but for `__version__`."""
    for node in _source(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [name for name in ast.literal_eval(node.value) if name != "__version__"]
    raise ValueError(f"{module} has no __all__")


def _source(module: str) -> ast.Module:
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _defined_in(module: str, name: str) -> str:
    """The module that a public name comes from: an op's function is called like its module."""
    for node in ast.walk(_source(module)):
        if isinstance(node, ast.ImportFrom) and node.module and any(one.name == name for one in node.names):
            return _defined_in(node.module, name)
    return module


def command_line() -> str:
    """The page of all commands, with their arguments, options and defaults."""
    import typer

    from deltafast.cli import app

    group: Any = typer.main.get_command(app)
    lines = ["# The command line", "", "`deltafast COMMAND --help` says the same.", ""]
    for name, command in sorted(group.commands.items()):
        lines += [f"## deltafast {name}", "", inspect.cleandoc(command.help or ""), ""]
        lines += ["| | |", "| --- | --- |"]
        lines += [f"| {_parameter(one)} | {_cell(one)} |" for one in command.params if one.name != "help"]
        lines.append("")
    return "\n".join(lines)


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _cell(parameter: Any) -> str:
    text = (parameter.help or "").replace("|", "\\|").replace("\n", " ")
    default = parameter.default
    plain = isinstance(default, (str, int, float)) and not isinstance(default, bool) and default != ""
    return f"{text} Default: `{default}`." if plain and "Default" not in text else text


def build(out: Path) -> Path:
    """Build the site into `out`/site and return its first page. Raises SystemExit where mkdocs finds a fault."""
    settings = assemble(out)
    site = out / "site"
    shutil.rmtree(site, ignore_errors=True)
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--config-file", str(settings)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=out, env=quiet, check=False)
    if done.returncode != 0 or not (site / "index.html").is_file():
        raise SystemExit(f"the site could not be built (exit code {done.returncode})")
    _cut_off(site)
    return site / "index.html"


def _cut_off(site: Path) -> None:
    """Leave the theme's scripts no address to fetch from: of diagrams, of repositories' stars, for old browsers."""
    shutil.rmtree(site / "assets/javascripts/lunr", ignore_errors=True)  # searching in other languages
    for script in site.rglob("*.js"):
        text = script.read_text(encoding="utf-8")
        script.write_text(_FETCHED.sub("absent/", text), encoding="utf-8")


def main() -> None:
    """Build, and say where the site is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=ROOT / "out/docs", help="folder; its site/ is replaced")
    out = parser.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    first = build(out)
    print(f"open {first}; to search it: python -m http.server --bind 127.0.0.1 --directory {first.parent}")


if __name__ == "__main__":
    main()
