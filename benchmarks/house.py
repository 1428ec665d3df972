"""Measure the house: lines by room, public names, files that an op is spread over, and who imports whom.

    python -m benchmarks.house [--before COMMIT]

Reads tracked files alone; --before reads another commit as well, and puts its numbers beside. Leaves
`benchmarks/results/house.json` and `docs/house.md`, whose graph GitHub draws.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_SOURCES = (".py", ".pyi", ".cpp", ".h", ".cu", ".cuh")
_OPS = ("delta_edit", "epilogue_to_rgb", "separable_conv")  # no other op is built on these
_OP_FOLDERS = ("csrc/", "deltafast/ops/", "tests/ops/", "CMakeLists.txt")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=_ROOT, capture_output=True, text=True, check=True).stdout


def read_sources(commit: str | None) -> dict[str, str]:
    """Return the text of every source file by its path: of a commit, or of the working tree."""
    names = _git("ls-files") if commit is None else _git("ls-tree", "-r", "--name-only", commit)
    chosen = [name for name in names.splitlines() if name.endswith(_SOURCES) or name == "CMakeLists.txt"]
    if commit is not None:
        return {name: _git("show", f"{commit}:{name}") for name in chosen}
    return {name: (_ROOT / name).read_text(encoding="utf-8") for name in chosen if (_ROOT / name).is_file()}


def room_of(name: str) -> str:
    """Return the room of a file: `deltafast/ops`, `csrc/kernels/cpu`; what lies at the top of a folder is the folder's.

    The package's own single files are `deltafast`, as are a folder's beneath a room the room's.
    """
    parts = name.split("/")[:-1]
    if parts[:1] == ["csrc"]:
        return "/".join(parts[:3])
    return "/".join(parts[:2] if parts[:1] in (["deltafast"], ["tests"]) else parts[:1]) or "."


def lines_by_room(sources: Mapping[str, str]) -> dict[str, int]:
    """Count the lines of each room, blank ones included."""
    counted: Counter[str] = Counter()
    for name, text in sources.items():
        counted[room_of(name)] += text.count("\n")
    return dict(sorted(counted.items()))


def public_names(sources: Mapping[str, str]) -> dict[str, int]:
    """Count what `__all__` lists: at the package's front door, and the different names of each room."""
    names: dict[str, set[str]] = {}
    for name, text in sources.items():
        if not name.startswith("deltafast/") or not name.endswith(".py"):
            continue
        place = "front door" if name == "deltafast/__init__.py" else room_of(name)
        for node in ast.parse(text).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                assert isinstance(node, ast.Assign)
                listed = [item for item in ast.walk(node.value) if isinstance(item, ast.Constant)]
                names.setdefault(place, set()).update(str(item.value) for item in listed)
    return {place: len(found) for place, found in sorted(names.items())}


def files_of_ops(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the files that name an op: its own, and every list that it stands in; tests' helpers are not counted."""
    return {
        op: sorted(
            name
            for name, text in sources.items()
            if name.startswith(_OP_FOLDERS) and (f"/{op}" in name or re.search(rf"(?<!_){op}(?!s|ing)", text))
        )
        for op in _OPS
    }


def _imported(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "deltafast")


def import_graph(sources: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Return room -> room it imports -> how many of its files do, imports inside functions included."""
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in sources}
    graph: dict[str, Counter[str]] = {}
    for name, text in sources.items():
        if not name.startswith("deltafast/") or not name.endswith(".py") or name == "deltafast/__init__.py":
            continue
        own = name.split("/")[1].removesuffix(".py")
        found = {parts[1] for parts in (module.split(".") for module in _imported(text)) if parts[:1] == ["deltafast"]
                 and len(parts) > 1 and ".".join(parts[:2]) in modules}  # fmt: skip
        graph.setdefault(own, Counter()).update(found - {own})
    return {own: dict(sorted(others.items())) for own, others in sorted(graph.items())}


def measure(commit: str | None) -> dict[str, Any]:
    """Return all figures of a commit, or of the working tree."""
    sources = read_sources(commit)
    return {
        "commit": _git("rev-parse", "--short", commit or "HEAD").strip(),
        "lines": lines_by_room(sources),
        "public_names": public_names(sources),
        "files_of_an_op": files_of_ops(sources),
        "imports": import_graph(sources),
    }


def _table(title: str, head: str, columns: list[dict[str, int]], labels: list[str]) -> str:
    rows = [f"## {title}\n", f"| {head} | " + " | ".join(labels) + " |", "| --- |" + " --- |" * len(labels)]
    for name in sorted({name for column in columns for name in column}):
        rows.append(f"| {name} | " + " | ".join(str(column.get(name, "")) for column in columns) + " |")
    rows.append("| all | " + " | ".join(str(sum(column.values())) for column in columns) + " |\n")
    return "\n".join(rows)


def page(measured: list[dict[str, Any]]) -> str:
    """Return the figures as Markdown; the last measurement is the one whose graph is drawn."""
    labels = [str(figures["commit"]) for figures in measured]
    counted = [{op: len(files) for op, files in figures["files_of_an_op"].items()} for figures in measured]
    edges = [
        f"  {own} -->|{files}| {other}" for own, others in measured[-1]["imports"].items()
        for other, files in others.items()
    ]  # fmt: skip
    rows = ["| op | " + " | ".join(labels) + " |", "| --- |" + " --- |" * len(labels)]
    rows += [f"| {op} | " + " | ".join(str(column.get(op, "")) for column in counted) + " |" for op in _OPS]
    return "\n".join(
        [
            "# The house in numbers\n",
            "Written by `python -m benchmarks.house`; the same figures are in `benchmarks/results/house.json`.\n",
            _table("Lines by room", "room", [figures["lines"] for figures in measured], labels),
            _table("Public names", "place", [figures["public_names"] for figures in measured], labels),
            "## Files that name an op\n\nUnder csrc/, deltafast/ops/, tests/ops/, and CMakeLists.txt.\n",
            *rows,
            "\n## Who imports whom\n\nThe number is that of the files which import from the room.\n",
            "```mermaid\ngraph TD",
            *edges,
            "```\n",
        ]
    )


def main() -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="a commit whose figures stand beside those of the working tree")
    parser.add_argument("--results", type=Path, default=_ROOT / "benchmarks" / "results" / "house.json")
    parser.add_argument("--page", type=Path, default=_ROOT / "docs" / "house.md")
    options = parser.parse_args()
    measured = [measure(commit) for commit in ([options.before] if options.before else []) + [None]]
    options.results.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    options.page.write_text(page(measured), encoding="utf-8")


if __name__ == "__main__":
    main()
