"""Prints what the package and its extras need, as pip reads it, without building the package.

python build_backend/requirements.py EXTRA...
"""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    from pip._vendor import tomli as tomllib  # type: ignore[no-redef]


def requirements(extras: list[str]) -> list[str]:
    """Return the dependencies of pyproject.toml with those of the `extras`; raises SystemExit for an unknown one."""
    text = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    optional: dict[str, list[str]] = project["optional-dependencies"]
    if unknown := [extra for extra in extras if extra not in optional]:
        raise SystemExit(f"requirements: there is no extra {unknown[0]!r}; there are {', '.join(optional)}")
    return [*project["dependencies"], *(need for extra in extras for need in optional[extra])]


if __name__ == "__main__":
    print("\n".join(dict.fromkeys(requirements(sys.argv[1:]))))
