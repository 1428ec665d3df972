"""`deltafast info`: what is installed, what was built, and what this machine can run."""

from __future__ import annotations

import json
import os
import platform
from typing import Annotated, Any

import typer

__all__ = ["info"]


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Show versions, how the extension was built, the devices found, and where files are kept.

    Exit code 1 where the extension module cannot be loaded; the reason is then among the lines.
    """
    facts = _facts()
    if as_json:
        print(json.dumps(facts, indent=2, sort_keys=True))
    else:
        for section, entries in facts.items():
            print(section)
            width = max(len(name) for name in entries)
            for name, value in entries.items():
                print(f"  {name:<{width}}  {_as_text(value)}")
    if "error" in facts["extension"]:
        raise typer.Exit(1)


def _facts() -> dict[str, dict[str, Any]]:
    return {
        "deltafast": _package(),
        "extension": _extension(),
        "torch": _torch(),
        "devices": _devices(),
        "files": _files(),
    }


def _package() -> dict[str, Any]:
    import deltafast

    return {
        "version": deltafast.__version__,
        "folder": os.path.dirname(deltafast.__file__),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _extension() -> dict[str, Any]:
    import importlib

    from deltafast.errors import BuildError

    try:
        importlib.import_module("deltafast.ops")  # loads the extension beside torch, or says in words why it cannot
    except BuildError as error:
        return {"error": str(error)}
    from deltafast import _C

    return {"file": _C.__file__, **_C.build_info()}


def _torch() -> dict[str, Any]:
    import torch

    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda or "a CPU build",
        "threads": torch.get_num_threads(),
    }


def _devices() -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"cpu": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"}
    if not torch.cuda.is_available():
        found["cuda"] = "none that torch can use"
        return found
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        found[f"cuda:{index}"] = f"{properties.name}, sm_{properties.major}{properties.minor}, {memory:.0f} GiB"
    return found


def _files() -> dict[str, Any]:
    from deltafast.delta.editor import list_editors
    from deltafast.files import cache_dir

    return {"cache": str(cache_dir()), "bundled editors": list_editors()}


def _as_text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value) or "none"
    return "none" if value is None or value == "" else str(value)
