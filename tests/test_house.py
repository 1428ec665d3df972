"""What surrounds the code keeps its word: one-word commands, pinned set-up, light import, a README that is true."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import deltafast

_ROOT = Path(__file__).resolve().parent.parent
_TARGETS = ["install", "demo", "test", "scale", "check", "format", "docs", "wheel", "bench"]
_TARGETS += ["gpu", "gpu-data", "gpu-check", "gpu-bench", "ledger", "assets", "clean", "help"]
_NEEDS_MAKE = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)==([^;\s]+)(?:; python_version >= \"3\.1\d\")?$", re.MULTILINE)


def _text(name: str) -> str:
    return (_ROOT / name).read_text(encoding="utf-8")


def _pins(name: str = "constraints.txt") -> dict[str, str]:
    """Package to version, of all lines of a file of constraints; a line of another form fails."""
    lines = [line for line in _text(name).splitlines() if line and not line.startswith("#")]
    pins = dict(_PIN.findall("\n".join(lines)))
    assert len(pins) == len(lines)
    return pins


def _plan(*words: str) -> str:
    """What `make` would run, asked without the variables of a surrounding `make test`."""
    inherited = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
    environment = {name: value for name, value in os.environ.items() if name not in inherited}
    return subprocess.run(
        ["make", "-n", *words], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=True, env=environment
    ).stdout


def _canonical(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def _pyproject() -> dict[str, object]:
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    parsed: dict[str, object] = tomllib.loads(_text("pyproject.toml"))
    return parsed


def _python(program: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True, env=environment
    )
    return shown.stdout


# ---- make, CI, set-up ---------------------------------------------------------------------------------------------


@_NEEDS_MAKE
@pytest.mark.parametrize("target", _TARGETS)
def test_every_word_that_people_type_is_a_target(target: str) -> None:
    assert _plan(target).strip()
    assert re.search(rf"^{target}:.*## ", _text("Makefile"), re.MULTILINE), "without a line in `make help`"


@_NEEDS_MAKE
@pytest.mark.parametrize("target", ["demo", "test", "check"])
def test_on_a_fresh_machine_torch_comes_first_and_by_its_version(target: str, tmp_path: Path) -> None:
    plan = _plan(target, f"VENV={tmp_path / 'fresh'}").replace("\\\n", " ")
    installs = [line for line in plan.splitlines() if "pip install" in line]
    assert len(installs) >= 2
    assert f"torch=={_pins()['torch']}" in installs[0]
    assert all("-c constraints.txt" in line for line in installs)
    assert plan.index("-m venv") < plan.index("pip install")


def test_ci_runs_the_checks_and_ends_on_the_tests() -> None:
    script = _ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line for line in _text(".ci/run").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "set -euo pipefail"
    assert lines[-2:] == ["make --jobs=2 check install", "make test"]


def test_everything_that_set_up_installs_is_pinned() -> None:
    pinned = {_canonical(name) for name in _pins()}
    project = _pyproject()["project"]
    assert isinstance(project, dict)
    wanted = list(project["dependencies"])
    apart = {_canonical(name) for name in _pins("constraints-app.txt")}  # the app's own environment
    for extra, needs in project["optional-dependencies"].items():
        wanted += [one for one in needs if extra not in ("app", "browser") or _canonical(one) not in apart]
    tools = re.search(r"^BUILD_TOOLS := (.*)$", _text("Makefile"), re.MULTILINE)
    assert tools is not None
    wanted += tools.group(1).split()
    assert {_canonical(name) for name in wanted} <= pinned


def test_set_up_has_the_build_tools_that_pip_would_take() -> None:
    system = _pyproject()["build-system"]
    assert isinstance(system, dict)
    tools = re.search(r"^BUILD_TOOLS := (.*)$", _text("Makefile"), re.MULTILINE)
    assert tools is not None
    assert {_canonical(name) for name in system["requires"]} <= {_canonical(name) for name in tools.group(1).split()}


def test_make_docs_installs_what_the_extra_names() -> None:
    project = _pyproject()["project"]
    assert isinstance(project, dict)
    tools = re.search(r"^DOCS_TOOLS := (.*)$", _text("Makefile"), re.MULTILINE)
    assert tools is not None
    extra = project["optional-dependencies"]["docs"]
    assert [_canonical(name) for name in tools.group(1).split()] == [_canonical(name) for name in extra]


def test_the_package_ships_all_its_files() -> None:
    settings = _pyproject()["tool"]
    assert isinstance(settings, dict)
    patterns = settings["setuptools"]["package-data"]["deltafast"]
    package = _ROOT / "deltafast"
    shipped = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    tracked = {
        path
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in {".py", ".so", ".pyd", ".tmp"}
    }
    assert tracked - shipped == set()


# ---- import and options -------------------------------------------------------------------------------------------


def test_import_is_light() -> None:
    program = (
        "import time, sys, torch, numpy\n"
        "begun = time.perf_counter(); import deltafast; seconds = time.perf_counter() - begun\n"
        "heavy = {'matplotlib', 'typer', 'rich', 'PIL', 'scipy', 'skimage', 'dlib', 'jinja2'} & set(sys.modules)\n"
        "print(seconds, *sorted(heavy))"
    )
    seen = [_python(program).split() for _ in range(2)]
    assert min(float(words[0]) for words in seen) < 0.3
    assert seen[0][1:] == []


def test_every_public_name_is_there_and_listed() -> None:
    for name in deltafast.__all__:
        assert getattr(deltafast, name) is not None
    assert set(deltafast.__all__) <= set(dir(deltafast))
    with pytest.raises(AttributeError, match="no attribute 'edit_bach'"):
        _ = deltafast.edit_bach


def test_the_option_benchmark_collects_the_benchmarks_instead_of_the_tests() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "--benchmark"]
    collected = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=300, check=False)
    items = [line for line in collected.stdout.splitlines() if "::" in line and not line.startswith(" ")]
    assert collected.returncode == 0, collected.stdout[-2000:]
    assert items
    assert all(line.startswith("benchmarks/") for line in items)


def test_benchmarks_are_skipped_unless_asked_for() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "benchmarks/test_ops.py"]
    seen = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert re.search(r"^\d+ skipped", seen.stdout.splitlines()[-1]), seen.stdout[-2000:]


# ---- the pages ----------------------------------------------------------------------------------------------------


def test_what_the_readme_calls_is_there_and_takes_what_it_is_given() -> None:
    blocks = re.findall(r"```python\n(.*?)```", _text("README.md"), re.DOTALL)
    calls = [node for block in blocks for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    ours = {ast.unparse(call): call for call in calls if ast.unparse(call.func).startswith("deltafast.")}
    assert ours
    for text, call in ours.items():
        function = getattr(deltafast, ast.unparse(call.func).removeprefix("deltafast."))
        given = {word.arg: None for word in call.keywords if word.arg is not None}
        try:
            inspect.signature(function).bind(*call.args, **given)
        except TypeError as error:
            raise AssertionError(f"README.md: {text}: {error}") from error


@_NEEDS_MAKE
def test_what_the_readme_types_is_a_target() -> None:
    typed = set(re.findall(r"^ {4}make ([a-z-]+)", _text("README.md"), re.MULTILINE))
    assert typed
    assert typed <= set(_TARGETS)


def test_environment_variables_are_few_and_all_in_the_table() -> None:
    sources = [path for folder in ("deltafast", "build_backend") for path in (_ROOT / folder).rglob("*.py")]
    sources += [*_ROOT.glob("*.py"), _ROOT / "tests" / "conftest.py"]
    read: set[str] = set()
    for path in sources:
        read |= set(re.findall(r"""["'](DELTAFAST_[A-Z_]+)["']""", path.read_text(encoding="utf-8")))
    for path in (_ROOT / "csrc").rglob("*.*"):
        read |= set(re.findall(r'getenv\("(DELTAFAST_[A-Z_]+)"', path.read_text(encoding="utf-8")))
    table = set(re.findall(r"^\| `(DELTAFAST_[A-Z_]+)`", _text("README.md"), re.MULTILINE))
    assert read == table
    assert len(table) <= 6


_DOCS = sorted(path.relative_to(_ROOT).as_posix() for path in (_ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *_DOCS])
def test_links_lead_somewhere(page: str) -> None:
    folder = (_ROOT / page).parent
    shown = re.sub(r"<!--.*?-->", "", _text(page), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#]+)\)", shown)
    missing = [target for target in targets if "://" not in target and not (folder / target).exists()]
    assert not missing


def test_the_ledger_names_every_cuda_kernel() -> None:
    kernels = [path.stem.replace("_", " ") for path in (_ROOT / "csrc" / "kernels" / "cuda").rglob("*.cu")]
    rows = [line for line in _text("docs/gpu-verified.md").splitlines() if line.startswith("| ")]
    assert kernels
    assert not [name for name in kernels if not any(row.startswith(f"| {name}") for row in rows)]


def test_the_changelog_knows_this_version() -> None:
    assert re.search(rf"^## {re.escape(deltafast.__version__)}\b", _text("CHANGELOG.md"), re.MULTILINE)


def test_the_licence_is_the_one_that_the_package_names() -> None:
    assert "Apache License" in _text("LICENSE")
    assert "Version 2.0, January 2004" in _text("LICENSE")
    assert 'license = "Apache-2.0"' in _text("pyproject.toml")
