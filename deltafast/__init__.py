"""deltafast: explicit, continuous, disentangled edits of faces in a StyleGAN's W+ space.

The public names below load their modules on first use, so `import deltafast` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deltafast.delta.editor import Editor, list_editors
    from deltafast.delta.loading import load_editor
    from deltafast.editing import EditResult, edit_batch, edit_stream
    from deltafast.faces.alignment import AlignedFace, Alignment, FaceAligner
    from deltafast.faces.pasting import paste_back
    from deltafast.generators.base import Generator
    from deltafast.generators.load import load_generator

__version__ = "0.1.0"

_HOMES = {
    "AlignedFace": "deltafast.faces.alignment",
    "Alignment": "deltafast.faces.alignment",
    "EditResult": "deltafast.editing",
    "Editor": "deltafast.delta.editor",
    "FaceAligner": "deltafast.faces.alignment",
    "Generator": "deltafast.generators.base",
    "edit_batch": "deltafast.editing",
    "edit_stream": "deltafast.editing",
    "list_editors": "deltafast.delta.editor",
    "load_editor": "deltafast.delta.loading",
    "load_generator": "deltafast.generators.load",
    "paste_back": "deltafast.faces.pasting",
}

__all__ = [
    "AlignedFace",
    "Alignment",
    "EditResult",
    "Editor",
    "FaceAligner",
    "Generator",
    "__version__",
    "edit_batch",
    "edit_stream",
    "list_editors",
    "load_editor",
    "load_generator",
    "paste_back",
]


_SUBMODULES = ("errors", "memory", "ops")  # those that programs name, loaded on first use too


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"deltafast.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'deltafast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_SUBMODULES})
