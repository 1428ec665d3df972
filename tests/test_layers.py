"""The house rules that keep the code readable: direction of imports, length of files, names, docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parent.parent
_PACKAGE = _ROOT / "deltafast"

# From the top of the house to its ground; rooms on one floor do not import each other.
_FLOORS = (
    ("cli",),
    ("app",),
    ("evaluation", "scale"),
    ("editing",),
    ("delta", "projection", "synthetic"),
    ("faces", "generators"),
    ("face_networks",),
    ("ops",),
    ("_C",),
    ("moving_pictures", "runs", "sequence_latents", "sequence_manifest", "wheels"),
    ("arguments", "files", "inputs", "memory", "peers", "pixels", "progress", "schedule", "workers"),
    ("untrusted",),
    ("errors",),
)
_PARTS_OF_ROOMS = {"build_info": "ops"}  # a file that stands at the top of the package, and the room it belongs to
_FLOOR_OF = {room: floor for floor, rooms in enumerate(_FLOORS) for room in rooms}
_FRONT_DOOR = "deltafast/__init__.py"  # names the public API, loads it lazily, and may therefore name every room
_MAX_LINES = 500
_VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
_SOURCE_SUFFIXES = {".py", ".cpp", ".h", ".cu", ".cuh"}


def _python_files() -> list[Path]:
    return sorted(_PACKAGE.rglob("*.py"))


def _source_files() -> list[Path]:
    folders = [_ROOT / name for name in ("deltafast", "csrc", "build_backend", "tests", "benchmarks")]
    found = [path for folder in folders for path in folder.rglob("*") if path.suffix in _SOURCE_SUFFIXES]
    return sorted([*found, *_ROOT.glob("*.py")])


def _name(path: Path) -> str:
    return path.relative_to(_ROOT).as_posix()


def _room(module: str) -> str:
    """`deltafast.delta.editor` -> `delta`; the bare package itself is ``."""
    parts = module.split(".")
    room = parts[1] if len(parts) > 1 else ""
    return _PARTS_OF_ROOMS.get(room, room)


def _module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports(file: str, tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Yield (line, module, name) of every import of deltafast's own; name is empty for `import module`."""
    package = _module_of(file) if file.endswith("/__init__.py") else _module_of(file).rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "deltafast":
                    yield node.lineno, alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                module = ".".join([*base, module] if module else base)
            if module.split(".")[0] == "deltafast":
                for alias in node.names:
                    # `from deltafast import delta` names a room, `from deltafast import __version__` does not
                    if module == "deltafast" and alias.name in _FLOOR_OF:
                        yield node.lineno, f"deltafast.{alias.name}", ""
                    else:
                        yield node.lineno, module, alias.name


def _wrong_imports(file: str, source: str) -> list[str]:
    """Say of each import of one file what is wrong with it."""
    own = _room(_module_of(file))
    wrong = []
    for line, module, name in _imports(file, ast.parse(source)):
        other = _room(module)
        where = f"{file}:{line}"
        if other == own:
            continue
        if other and own and own in _FLOOR_OF and other in _FLOOR_OF and _FLOOR_OF[other] <= _FLOOR_OF[own]:
            wrong.append(f"{where}: {own} imports {other}, which is not below it")
        if other == "_C" and own != "ops":
            wrong.append(f"{where}: only ops may import the extension module")
        parts = [*module.split(".")[2:], name]
        private = [part for part in parts if part.startswith("_") and not part.startswith("__") and part != "_C"]
        if private:
            wrong.append(f"{where}: {private[0]} is private to {other or 'deltafast'}")
    return wrong


def _reached_from(*files: str) -> set[str]:
    """Name every file of the package that some files import, those inside functions and by way of others included."""
    known = {_name(path) for path in _python_files()} - {_FRONT_DOOR}
    found, todo = set(files), list(files)
    while todo:
        file = todo.pop()
        for _, module, name in _imports(file, ast.parse((_ROOT / file).read_text(encoding="utf-8"))):
            places = [module.replace(".", "/"), f"{module}.{name}".replace(".", "/")]
            for other in [f"{place}{end}" for place in places for end in (".py", "/__init__.py")]:
                if other in known and other not in found:
                    found.add(other)
                    todo.append(other)
    return found


def _without_docstring(file: str, source: str) -> list[str]:
    """Name the public functions, classes and public methods of one file that have no docstring."""
    missing = []
    for node in ast.parse(source).body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None:
            missing.append(f"{file}:{node.lineno}: {node.name}")
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                # `forward` is described with its class, as everywhere in torch
                if (
                    isinstance(method, ast.FunctionDef)
                    and not method.name.startswith("_")
                    and method.name != "forward"
                    and ast.get_docstring(method) is None
                    and not any(ast.unparse(decorator).endswith("overload") for decorator in method.decorator_list)
                ):
                    missing.append(f"{file}:{method.lineno}: {node.name}.{method.name}")
    return missing


def test_every_room_has_a_floor() -> None:
    rooms = {_room(_module_of(_name(path))) for path in _python_files()} - {"", "__main__"}
    assert rooms <= set(_FLOOR_OF), "say in _FLOORS (and in CONTRIBUTING.md) on which floor the new room is"


def test_rooms_import_downward_and_nothing_private() -> None:
    wrong = [
        line
        for path in _python_files()
        if _name(path) != _FRONT_DOOR
        for line in _wrong_imports(_name(path), path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


def _circles(sources: dict[str, str]) -> list[set[str]]:
    """Groups of modules that import each other, in whatever roundabout way; `sources` by file name."""
    modules = {_module_of(file): (file, source) for file, source in sources.items()}
    found: dict[str, set[str]] = {}  # module: what it imports, and what that imports, and so on
    for module, (file, source) in modules.items():
        imports = _imports(file, ast.parse(source))
        named = {f"{base}.{name}" if f"{base}.{name}" in modules else base for _, base, name in imports}
        found[module] = named & set(modules) - {module}
    changed = True
    while changed:
        changed = False
        for reached in found.values():
            further = set().union(*(found[module] for module in reached)) - reached
            reached |= further
            changed = changed or bool(further)
    circles: list[set[str]] = []
    for module, reached in found.items():
        circle = {other for other in reached if module in found[other]}
        if circle and circle not in circles:
            circles.append(circle)
    return circles


def test_no_modules_import_each_other() -> None:
    files = [path for path in _python_files() if _name(path) != _FRONT_DOOR]
    circles = _circles({_name(path): path.read_text(encoding="utf-8") for path in files})
    assert circles == []


def test_a_circle_of_imports_is_found_even_inside_functions() -> None:
    sources = {
        "deltafast/generators/base.py": "def f():\n    from deltafast.generators.compiled import Compiled",
        "deltafast/generators/compiled.py": "from deltafast.generators import seeds",
        "deltafast/generators/seeds.py": "import deltafast.generators.base",
        "deltafast/generators/mapping.py": "from deltafast.generators.base import Generator",
    }
    (circle,) = _circles(sources)
    assert circle == {f"deltafast.generators.{name}" for name in ("base", "compiled", "seeds")}


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("deltafast/ops/upfirdn2d.py", "from deltafast.generators.base import Generator", "not below"),
        ("deltafast/delta/training.py", "import deltafast.projection.encoder", "not below"),
        ("deltafast/delta/training.py", "from ..projection import encoder", "not below"),
        ("deltafast/generators/base.py", "from deltafast import editing", "not below"),
        ("deltafast/faces/meter.py", "from deltafast.generators.base import Generator", "not below"),
        ("deltafast/files.py", "def f():\n    from deltafast.progress import track", "not below"),
        ("deltafast/generators/base.py", "from deltafast.ops._library import load", "private"),
        ("deltafast/cli/edit.py", "from deltafast.delta.editor import _read", "private"),
        ("deltafast/generators/base.py", "import deltafast._C", "only ops"),
    ],
)
def test_a_wrong_import_is_found(file: str, line: str, complaint: str) -> None:
    assert complaint in " ".join(_wrong_imports(file, line))


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("deltafast/cli/edit.py", "from deltafast.delta.editor import load_editor"),
        ("deltafast/ops/upfirdn2d.py", "from deltafast.ops._library import load"),
        ("deltafast/delta/training.py", "from .editor import _Config"),
        ("deltafast/cli/info.py", "from deltafast import __version__"),
        ("deltafast/generators/base.py", "import torch._dynamo"),
    ],
)
def test_a_right_import_is_left_alone(file: str, line: str) -> None:
    assert _wrong_imports(file, line) == []


def test_what_edits_never_imports_what_evaluates() -> None:
    commands = {"edit", "align", "project", "train", "train_encoder", "render", "editors", "info"}
    files = [_name(path) for path in _python_files() if _room(_module_of(_name(path))) not in ("evaluation", "cli")]
    reached = _reached_from(*set(files) - {_FRONT_DOOR}, *(f"deltafast/cli/{name}.py" for name in commands))
    assert "deltafast/editing/batch.py" in reached
    assert not [file for file in reached if file.startswith("deltafast/evaluation/")]


def test_an_import_by_way_of_another_file_is_found() -> None:
    reached = _reached_from("deltafast/cli/evaluate.py")
    assert {"deltafast/evaluation/statistics.py", "deltafast/generators/base.py"} <= reached


def test_files_have_one_subject_each() -> None:
    lengths = {_name(path): path.read_text(encoding="utf-8").count("\n") for path in _source_files()}
    too_long = {name: length for name, length in lengths.items() if length > _MAX_LINES}
    assert not too_long, f"past {_MAX_LINES} lines a file has two subjects: {too_long}"


def test_no_file_is_named_after_nothing() -> None:
    vague = []
    for path in _source_files():
        parts = path.relative_to(_ROOT).with_suffix("").parts
        if _VAGUE_NAMES & {part.strip("_").lower() for part in parts}:
            vague.append(_name(path))
    assert not vague


def test_everything_public_says_what_it_does() -> None:
    missing = [
        line for path in _python_files() for line in _without_docstring(_name(path), path.read_text(encoding="utf-8"))
    ]
    assert not missing, "no docstring:\n" + "\n".join(missing)


def test_every_module_says_what_it_is() -> None:
    missing = [_name(p) for p in _python_files() if ast.get_docstring(ast.parse(p.read_text(encoding="utf-8"))) is None]
    assert not missing


def test_a_missing_docstring_is_found() -> None:
    source = "def edit():\n    pass\n\nclass Editor:\n    'An editor.'\n    def save(self):\n        pass\n"
    assert _without_docstring("deltafast/x.py", source) == ["deltafast/x.py:1: edit", "deltafast/x.py:6: Editor.save"]
    assert _without_docstring("deltafast/x.py", "def _edit():\n    pass\n") == []
